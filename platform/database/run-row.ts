import type { Transaction } from 'kysely';
import type { AgentDefinition } from '#domain/agent.ts';
import { StewardError } from '#domain/errors.ts';
import type { ModelTool } from '#domain/ports/model.ts';
import type { RunRef } from '#domain/ports/run-store.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { LruCache } from '#platform/identity/lru-cache.ts';
import { noteTrace } from '#platform/telemetry/ids.ts';
import type { Database } from './tables.ts';

/** Named one by one, so that the statement stays prepared through a migration. */
export const RUN_COLUMNS = [
  'id',
  'tenant',
  'agent',
  'agent_hash',
  'tools',
  'limits',
  'waits',
  'model',
  'max_output_tokens',
  'run_grant',
  'status',
  'waits_until',
  'paused_by',
  'cancel_requested_by',
  'step_seq',
  'turns',
  'model_calls',
  'input_tokens',
  'output_tokens',
  'cache_read_tokens',
  'cache_write_tokens',
  'active_ms',
  'messages_sent',
  'messages_read',
  'earlier_runs',
  'earlier_steps',
  'context_tokens',
  'prefix_from',
  'handles_through',
  'handles_at',
  'summarised_through',
  'summarised_turn',
  'trace_parent',
  'typical_micro_usd',
  'closed_at',
] as const;

/** What the platform needs of a run row to work on it. */
export async function readRun(trx: Transaction<Database>, ref: RunRef) {
  const row = await trx.selectFrom('agent_runs').select(RUN_COLUMNS).where('id', '=', ref.run).executeTakeFirst();
  if (!row) throw notFound(ref);
  return row;
}

/** As `readRun`, and locks the row until the end of the transaction. Take account locks before it, never after. */
export async function lockRun(trx: Transaction<Database>, ref: RunRef) {
  const row = await trx
    .selectFrom('agent_runs')
    .select(RUN_COLUMNS)
    .where('id', '=', ref.run)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (!row) throw notFound(ref);
  return row;
}

/** The error of a run that the tenant does not have. */
export function notFound(ref: RunRef): StewardError {
  return new StewardError('NOT_FOUND', `There is no run ${ref.run} in tenant ${ref.tenant}.`);
}

export type RunRow = Awaited<ReturnType<typeof readRun>>;

/**
 * Verifies the grant in a run row and that it is this run's and this tenant's: the row was read under a tenant that a
 * workflow's input named, and only the grant makes that true. What is done next is then noted as done in its trace.
 */
export async function verifyRow(
  verifier: RunGrantVerifier,
  ref: RunRef,
  row: Pick<RunRow, 'run_grant' | 'trace_parent'>,
  options: { readonly expired?: boolean } = {},
): Promise<void> {
  const grant = await verifier.verify(row.run_grant, options);
  if (grant.tenant !== ref.tenant || grant.run !== ref.run) {
    throw new StewardError('GRANT_MISMATCH', `The grant of run ${ref.run} is for another run or tenant.`);
  }
  noteTrace(ref.run, row.trace_parent);
}

export interface AgentVersion {
  readonly definition: AgentDefinition;
  readonly tools: readonly ToolDescriptor[];
}

/** Agent versions never change, so they are kept: the last 200 by tenant, name and hash. */
export class AgentVersions {
  readonly #known = new LruCache<string, AgentVersion>(200);

  async read(trx: Transaction<Database>, run: Pick<RunRow, 'tenant' | 'agent' | 'agent_hash'>): Promise<AgentVersion> {
    const key = `${run.tenant}/${run.agent}@${run.agent_hash}`;
    const known = this.#known.get(key);
    if (known) return known;
    const row = await trx
      .selectFrom('agents')
      .select(['definition', 'tools'])
      .where('name', '=', run.agent)
      .where('hash', '=', run.agent_hash)
      .executeTakeFirstOrThrow();
    const version: AgentVersion = {
      definition: row.definition as unknown as AgentDefinition,
      tools: row.tools,
    };
    this.#known.set(key, version);
    return version;
  }
}

/** The tools of a run as the model is told about them: pinned descriptors, after narrowing, in a stable order. */
export function modelToolsOf(version: AgentVersion, run: Pick<RunRow, 'tools'>): ModelTool[] {
  return version.tools
    .filter((tool) => run.tools[tool.catalog]?.includes(tool.name))
    .map((tool) => ({ name: tool.name, description: tool.description, inputSchema: tool.inputSchema }));
}
