import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { runAccount } from '#domain/ids.ts';
import type { JsonValue } from '#domain/json.ts';
import type { RunLimits } from '#domain/run.ts';
import type { Database } from '#platform/database/tables.ts';
import { canonicalJson } from '#platform/identity/canonical-json.ts';
import type { Principal } from '#platform/identity/principal.ts';
import { assertSees } from '../access.ts';
import type { Asked } from './request.ts';

/** Runs of one conversation, the new one included. */
export const MOST_RUNS = 50;

/** A closed run that a new one goes on from: what it was given at its start, and the conversation up to its end. */
export interface Continued {
  readonly id: string;
  readonly tools: Readonly<Record<string, readonly string[]>>;
  readonly resources: readonly string[];
  readonly limits: RunLimits;
  /** As it was started with: what was added later was added to that run. */
  readonly budgetMicroUsd: number;
  /** The runs of the conversation, oldest first and itself last, and how many steps of each are part of it. */
  readonly runs: readonly string[];
  readonly steps: readonly number[];
  /** What the model was told before the conversation, and with what its thinking went back. */
  readonly agentHash: string;
  readonly prefixFrom: number;
  /** What its model was no longer shown. */
  readonly handlesThrough: number;
  readonly handlesAt: number;
  readonly summarisedThrough: number;
}

/**
 * Up to which step of the conversation, counted through all its runs, thinking is left out: providers take it back only
 * behind the very words it was written behind, instructions and tools included.
 */
export function prefixFromOf(
  continued: Continued,
  given: { readonly agentHash: string; readonly tools: Continued['tools'] },
): number {
  const tools = (of: Continued['tools']): string => canonicalJson(of as unknown as JsonValue);
  const same = continued.agentHash === given.agentHash && tools(continued.tools) === tools(given.tools);
  return same ? continued.prefixFrom : continued.steps.reduce((sum, steps) => sum + steps, 0);
}

/**
 * The run that is to be continued; null where none is asked for. Throws NOT_FOUND where the caller may not see it,
 * NOT_PERMITTED for another user's, INVALID_REQUEST for another agent's, WRONG_STATE while it is open, LIMIT_REACHED at
 * the end of the longest conversation, WRONG_STATE also while a run of it is investigated as unusual.
 */
export async function readContinued(
  trx: Transaction<Database>,
  principal: Principal,
  asked: Asked,
): Promise<Continued | null> {
  if (asked.continues === null) return null;
  const run = await trx.selectFrom('agent_runs').selectAll().where('id', '=', asked.continues).executeTakeFirst();
  assertSees(principal, run, asked.continues);
  if (run.acting_user !== asked.actingUser) {
    throw new StewardError(
      'NOT_PERMITTED',
      `Run ${run.id} acted for another user. A conversation goes on for the user it was held for.`,
    );
  }
  if (run.agent !== asked.agent) {
    throw new StewardError('INVALID_REQUEST', `Run ${run.id} was of agent ${run.agent}. Continue it with that agent.`, {
      details: { field: 'continues' },
    });
  }
  if (run.closed_at === null) {
    throw new StewardError('WRONG_STATE', `Run ${run.id} is ${run.status}, not closed. Send it a message instead.`, {
      details: { status: run.status },
    });
  }
  const runs = [...run.earlier_runs, run.id];
  if (runs.length >= MOST_RUNS) {
    throw new StewardError('LIMIT_REACHED', `${runs.length} runs stand in this conversation. Begin a new one.`);
  }
  await assertLookedAt(trx, runs);
  return {
    id: run.id,
    tools: run.tools,
    resources: run.resources,
    limits: run.limits,
    budgetMicroUsd: await startingBudget(trx, run.id),
    runs,
    steps: [...run.earlier_steps, run.step_seq],
    agentHash: run.agent_hash,
    prefixFrom: run.prefix_from,
    handlesThrough: run.handles_through,
    handlesAt: run.handles_at,
    summarisedThrough: run.summarised_through,
  };
}

/** What was stopped because it was unusual does not go on under another id before somebody has looked. */
async function assertLookedAt(trx: Transaction<Database>, runs: readonly string[]): Promise<void> {
  const open = await trx
    .selectFrom('investigations')
    .select('run_id')
    .where('run_id', 'in', runs)
    .where('state', '<>', 'closed')
    .where(sql<boolean>`'anomaly' = any(reasons)`)
    .executeTakeFirst();
  if (!open) return;
  throw new StewardError(
    'WRONG_STATE',
    `Run ${open.run_id} went otherwise than usual, and that is being looked at. Close its investigation first.`,
    { details: { investigation: open.run_id } },
  );
}

async function startingBudget(trx: Transaction<Database>, run: string): Promise<number> {
  const account = runAccount(run);
  const { limit } = await trx
    .selectFrom('ledger_accounts')
    .select('limit_micro_usd as limit')
    .where('id', '=', account)
    .executeTakeFirstOrThrow();
  const { raised } = await trx
    .selectFrom('ledger_entries')
    .select((eb) => eb.fn.sum<string | null>('amount_micro_usd').as('raised'))
    .where('account', '=', account)
    .where('kind', '=', 'raise')
    .executeTakeFirstOrThrow();
  return (limit ?? 0) - Number(raised ?? 0);
}
