import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql, type Transaction } from 'kysely';
import type { AgentDefinition } from '#domain/agent.ts';
import { StewardError } from '#domain/errors.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import type { ApplyAgentRequest, ApplyAgentResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { agentHash, parseAgent } from '#platform/config/agent-definition.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunApiDeps } from '../deps.ts';
import { toAgent } from '../views/agent.ts';
import { readTenant } from '../views/tenant.ts';

/** As many as a run grant carries. */
const MOST_PERMISSIONS = 100;

/** Makes a definition, with its tools as their catalogs describe them now, the current version of its name. */
export async function applyAgent(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ApplyAgentRequest,
): Promise<MessageInitShape<typeof ApplyAgentResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const definition = parseAgent(request.yaml, { knownModels: deps.knownModels });
  const tools = await pin(deps, definition, ctx.signal);
  const hash = agentHash(definition, Object.fromEntries(tools.map((tool) => [tool.name, tool.hash])));
  const version = { tenant, definition, hash, tools, yaml: request.yaml, by: subject };
  return withTenant(deps.db, tenant, async (trx) => {
    await readTenant(trx, tenant);
    const changed = await makeCurrent(trx, version);
    const row = await trx
      .selectFrom('agents')
      .select(['name', 'hash', 'definition', 'is_current', 'applied_at', 'applied_by'])
      .where('name', '=', definition.name)
      .where('hash', '=', hash)
      .executeTakeFirstOrThrow();
    return { agent: toAgent(row), changed };
  });
}

async function pin(deps: RunApiDeps, definition: AgentDefinition, signal: AbortSignal): Promise<ToolDescriptor[]> {
  const catalogs = Object.entries(definition.tools);
  const tools = (
    await Promise.all(catalogs.map(([name, wanted]) => deps.catalogs.describe(name, wanted, signal)))
  ).flat();
  const permissions = new Set(tools.flatMap((tool) => tool.permissions));
  if (permissions.size <= MOST_PERMISSIONS) return tools;
  throw new StewardError(
    'AGENT_INVALID',
    `tools: they need ${permissions.size} permissions together; at most ${MOST_PERMISSIONS} fit into a run's grant. ` +
      'Take fewer tools.',
  );
}

interface Version {
  readonly tenant: string;
  readonly definition: AgentDefinition;
  readonly hash: string;
  readonly tools: readonly ToolDescriptor[];
  readonly yaml: string;
  readonly by: string;
}

/** False where this content was current already. */
async function makeCurrent(trx: Transaction<Database>, version: Version): Promise<boolean> {
  const { tenant, definition, hash } = version;
  // Two that are applied at once come one after the other.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`steward.agent/${tenant}/${definition.name}`}, 0))`.execute(
    trx,
  );
  const current = await trx
    .selectFrom('agents')
    .select('hash')
    .where('name', '=', definition.name)
    .where('is_current', '=', true)
    .executeTakeFirst();
  if (current?.hash === hash) return false;
  await trx
    .updateTable('agents')
    .set({ is_current: false })
    .where('name', '=', definition.name)
    .where('is_current', '=', true)
    .execute();
  await trx
    .insertInto('agents')
    .values({
      tenant,
      name: definition.name,
      hash,
      definition: JSON.stringify(definition),
      yaml: version.yaml,
      tools: JSON.stringify(version.tools),
      is_current: true,
      applied_by: version.by,
    })
    // An earlier version becomes current again: what it pinned stays as it was.
    .onConflict((conflict) => conflict.columns(['tenant', 'name', 'hash']).doUpdateSet({ is_current: true }))
    .execute();
  const data = { agent: definition.name, hash, before: current?.hash ?? null };
  await audit(trx, tenant, { actor: version.by, action: 'agent.apply', data });
  return true;
}
