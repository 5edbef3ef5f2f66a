import { type Selectable, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { Database, RunsTable } from '#platform/database/tables.ts';
import type { Principal } from '#platform/identity/principal.ts';
import { assertSees, assertSteers } from './access.ts';

/** What of a run's row is shown; the rest is the run's own affair, and stays in the database. */
const SHOWN = [
  'tenant',
  'id',
  'agent',
  'agent_hash',
  'acting_user',
  'started_by',
  'labels',
  'model',
  'status',
  'stop_reason',
  'stop_message',
  'waits_until',
  'paused_by',
  'cancel_requested_by',
  'event_seq',
  'earlier_runs',
  'turns',
  'tool_calls',
  'input_tokens',
  'output_tokens',
  'cache_read_tokens',
  'cache_write_tokens',
  'created_at',
  'closed_at',
  'trace_parent',
  'refunded_micro_usd',
] as const satisfies (keyof RunsTable)[];

/** A run with what its account and its open approvals say. */
export interface RunRecord extends Pick<Selectable<RunsTable>, (typeof SHOWN)[number]> {
  /** Cut in the database, as the reader asked. */
  readonly input: string;
  readonly outcome: string | null;
  readonly limit_micro_usd: number | null;
  readonly settled_micro_usd: number | null;
  readonly reserved_micro_usd: number | null;
  readonly open_approval_ids: string[];
  /** To the microsecond, for page tokens. */
  readonly created_at_text: string;
}

/** Characters of an input, and of an outcome, so that a run with its effects fits one message. Its steps have all. */
const LONGEST_TEXT = 100_000;

/** All runs of the transaction's tenant, as records; input and outcome cut at `longest` characters. */
export function selectRuns(trx: Transaction<Database>, longest = LONGEST_TEXT) {
  return trx
    .selectFrom('agent_runs as r')
    .leftJoinLateral(
      // Looked up run by run: as a plain join, row-level security would have every account of the tenant read first.
      (eb) =>
        eb
          .selectFrom('ledger_accounts')
          .select(['limit_micro_usd', 'settled_micro_usd', 'reserved_micro_usd'])
          .where('id', '=', sql<string>`'run/' || r.id`)
          .limit(1)
          .as('l'),
      (join) => join.onTrue(),
    )
    .select(SHOWN.map((column) => `r.${column}` as const))
    .select([
      sql<string>`left(r.input, ${longest})`.as('input'),
      sql<string>`left(r.outcome, ${longest})`.as('outcome'),
    ])
    .select(['l.limit_micro_usd', 'l.settled_micro_usd', 'l.reserved_micro_usd'])
    .select(
      sql<string[]>`array(select a.id from approvals a where a.run_id = r.id and a.state = 'open'
        and a.expires_at > now() and r.closed_at is null order by a.created_at, a.id limit 100)`.as(
        'open_approval_ids',
      ),
    )
    .select(sql<string>`r.created_at::text`.as('created_at_text'));
}

/** The run, where the caller may see it. Throws NOT_FOUND. */
export async function readRun(trx: Transaction<Database>, principal: Principal, id: string): Promise<RunRecord> {
  const run = await selectRuns(trx).where('r.id', '=', id).executeTakeFirst();
  assertSees(principal, run, id);
  return run as RunRecord;
}

export type LockedRun = Selectable<RunsTable>;

/** The run, its row locked until the transaction ends, where the caller may steer it. Throws NOT_FOUND, ROLE_MISSING. */
export async function lockRun(trx: Transaction<Database>, principal: Principal, id: string): Promise<LockedRun> {
  const run = await trx.selectFrom('agent_runs').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst();
  assertSees(principal, run, id);
  assertSteers(principal, run);
  return run as LockedRun;
}

/** Throws WRONG_STATE where the run has closed. */
export function assertOpen(run: Pick<LockedRun, 'id' | 'status' | 'closed_at'>): void {
  if (run.closed_at === null) return;
  throw new StewardError('WRONG_STATE', `Run ${run.id} is closed: ${run.status}. A closed run never changes.`, {
    details: { status: run.status },
  });
}

/** What of this run is still owed to Temporal: a repeated request brings it there if the first one's delivery failed. */
export async function owedOf(trx: Transaction<Database>, run: string): Promise<number[]> {
  const rows = await trx
    .selectFrom('outbox')
    .select('id')
    .where('run_id', '=', run)
    .where('delivered_at', 'is', null)
    .orderBy('id')
    .limit(100)
    .execute();
  return rows.map((row) => row.id);
}
