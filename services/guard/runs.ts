import type { Selectable, Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { runAccount } from '#domain/ids.ts';
import { readStops, type Stop, stopOfCall, stopOfRun } from '#domain/kill-switch.ts';
import { withinResources } from '#domain/tools.ts';
import { killed, stopsOf } from '#platform/database/switches.ts';
import type { Database, RunsTable } from '#platform/database/tables.ts';
import type { VerifiedRunGrant } from '#platform/identity/grants.ts';

const COLUMNS = [
  'tenant',
  'id',
  'agent',
  'agent_hash',
  'acting_user',
  'tools',
  'resources',
  'limits',
  'waits',
  'anomaly_limits',
  'watched',
  'status',
  'paused_by',
  'cancel_requested_by',
  'tool_calls',
  'open_approvals',
  'closed_at',
] as const;

/** What the guard looks at of a run, with the kill switches that stand and may concern it. */
export type RunRow = Pick<Selectable<RunsTable>, (typeof COLUMNS)[number]> & { readonly stops: readonly Stop[] };

type Read = Omit<RunRow, 'stops'> & { readonly stops: unknown };

/** The run of a verified grant. Throws NOT_FOUND, and GRANT_MISMATCH where the run is not the one that was granted. */
export async function readRun(trx: Transaction<Database>, grant: VerifiedRunGrant): Promise<RunRow> {
  return checked(
    grant,
    await trx
      .selectFrom('agent_runs')
      .select(COLUMNS)
      .select(stopsOf().as('stops'))
      .where('id', '=', grant.run)
      .executeTakeFirst(),
  );
}

/** As `lockGrantedRun`, with whether a turn was judged as of when the lock was asked for, and what the run has cost. */
export async function lockForTurn(
  trx: Transaction<Database>,
  grant: VerifiedRunGrant,
  turn: number,
): Promise<{ readonly run: RunRow; readonly judged: boolean; readonly spent: number }> {
  const row = await trx
    .selectFrom('agent_runs')
    .select(COLUMNS)
    .select(stopsOf().as('stops'))
    .select((eb) =>
      eb
        .exists(
          eb
            .selectFrom('agent_run_tool_invocations as call')
            .select('call.call_id')
            .where('call.run_id', '=', grant.run)
            .where('call.turn', '=', turn),
        )
        .as('judged'),
    )
    .select((eb) =>
      eb
        .selectFrom('ledger_accounts as account')
        .select('account.settled_micro_usd')
        .where('account.id', '=', runAccount(grant.run))
        .as('spent'),
    )
    .where('id', '=', grant.run)
    .forNoKeyUpdate()
    .executeTakeFirst();
  return { run: checked(grant, row), judged: row?.judged === true, spent: row?.spent ?? 0 };
}

/** As `readRun`, and locks the row. Locks are always taken in this order: run, call, approval. */
export async function lockGrantedRun(trx: Transaction<Database>, grant: VerifiedRunGrant): Promise<RunRow> {
  return checked(grant, await lockedRow(trx, grant.run));
}

/** Locks the row of a run until the end of the transaction; undefined where the tenant has none of that id. */
export async function lockRun(trx: Transaction<Database>, run: string): Promise<RunRow | undefined> {
  const row = await lockedRow(trx, run);
  return row && withStops(row);
}

function lockedRow(trx: Transaction<Database>, run: string): Promise<Read | undefined> {
  return trx
    .selectFrom('agent_runs')
    .select(COLUMNS)
    .select(stopsOf().as('stops'))
    .where('id', '=', run)
    .forNoKeyUpdate()
    .executeTakeFirst();
}

function withStops(row: Read): RunRow {
  return { ...row, stops: readStops(row.stops) };
}

function checked(grant: VerifiedRunGrant, run: Read | undefined): RunRow {
  if (!run) throw new StewardError('NOT_FOUND', `There is no run ${grant.run}.`);
  if (run.acting_user === grant.user && run.agent === grant.agent && run.agent_hash === grant.agentHash) {
    return withStops(run);
  }
  throw new StewardError(
    'GRANT_MISMATCH',
    `The run grant does not fit run ${grant.run}: its user or agent is another.`,
  );
}

/** Throws WRONG_STATE where the run has closed. */
export function assertOpen(run: RunRow): void {
  if (run.closed_at !== null) throw closed(run);
}

function closed(run: RunRow): StewardError {
  return new StewardError('WRONG_STATE', `Run ${run.id} is closed: ${run.status}.`, {
    details: { status: run.status },
  });
}

/**
 * Throws KILLED or SAFE_MODE where a switch refuses a call of this tool. Read in the transaction that lets it begin: see
 * platform/database/switches.ts.
 */
export function assertNotStopped(run: RunRow, call: { readonly tool: string; readonly effect: boolean }): void {
  const stop = stopOfCall(run.stops, call);
  if (stop) throw killed(stop);
}

/** Whether anything of the run may begin now: not closed, not being cancelled, not paused, not stopped by a switch. */
export function assertMayBegin(run: RunRow): void {
  const why = whyMayNotBegin(run);
  if (why) throw why;
}

/** As `assertMayBegin`; null where it may. */
export function whyMayNotBegin(run: RunRow): StewardError | null {
  if (run.closed_at !== null) return closed(run);
  if (run.cancel_requested_by !== null) {
    return new StewardError('CANCELLED', `Run ${run.id} is being cancelled by ${run.cancel_requested_by}.`);
  }
  const stop = stopOfRun(run.stops);
  if (stop) return killed(stop);
  if (run.status === 'paused' || run.paused_by !== null) {
    return new StewardError('WRONG_STATE', `Run ${run.id} is paused. Resume it first.`, {
      details: { status: 'paused' },
    });
  }
  return null;
}

/** Whether the run was narrowed to resources that leave these keys out. */
export function isOutside(run: RunRow, grant: VerifiedRunGrant, keys: readonly string[]): boolean {
  return !withinResources(run.resources, keys) || !withinResources(grant.resources, keys);
}
