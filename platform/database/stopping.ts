import type { Selectable, Transaction } from 'kysely';
import { closeUnstarted } from './admission.ts';
import { audit, record } from './journal.ts';
import { enqueue } from './outbox.ts';
import type { Database, RunsTable } from './tables.ts';

/** What of a run's row stopping it looks at. The caller holds the row's lock, and knows that it is open. */
export type StoppableRun = Pick<
  Selectable<RunsTable>,
  'tenant' | 'id' | 'status' | 'waits' | 'cancel_requested_by' | 'paused_by' | 'workflow_started_at'
>;

/** Its columns. */
export const STOPPABLE = [
  'tenant',
  'id',
  'status',
  'waits',
  'cancel_requested_by',
  'paused_by',
  'workflow_started_at',
] as const;

/**
 * Stores that a run is to be cancelled, and what Temporal is owed for it. One that no workflow knows of is closed right
 * here: `closed`, and its slot is free. Only for a run that is not being cancelled yet.
 */
export async function storeCancel(
  trx: Transaction<Database>,
  run: StoppableRun,
  by: string,
  reason: string,
): Promise<{ readonly closed: boolean; readonly outbox: number[] }> {
  await trx
    .updateTable('agent_runs')
    .set({ cancel_requested_by: by, cancel_reason: reason })
    .where('id', '=', run.id)
    .execute();
  await audit(trx, run.tenant, { actor: by, action: 'run.cancel', run: run.id, data: { reason } });
  await record(trx, run.tenant, run.id, { events: [{ kind: 'run.cancelling', data: { by, reason } }] });
  if (!(await withdrawStart(trx, run))) {
    return { closed: false, outbox: [await enqueue(trx, run.tenant, { kind: 'cancel', runId: run.id })] };
  }
  await closeUnstarted(trx, run.tenant, run.id, 'was cancelled before it began');
  return { closed: true, outbox: [] };
}

/** True where no workflow has been started and none will be: its start was never tried, and is taken back. */
async function withdrawStart(trx: Transaction<Database>, run: StoppableRun): Promise<boolean> {
  if (run.workflow_started_at !== null) return false;
  if (run.status === 'queued') return true;
  const start = await trx
    .selectFrom('outbox')
    .select(['id', 'attempts', 'delivered_at'])
    .where('run_id', '=', run.id)
    .where('kind', '=', 'start')
    .forUpdate()
    .execute();
  if (start.length === 0 || start.some((row) => row.attempts > 0 || row.delivered_at !== null)) return false;
  const note = 'The run was cancelled before it began.';
  await trx
    .updateTable('outbox')
    .set({ delivered_at: new Date(), last_error: note })
    .where('run_id', '=', run.id)
    .where('delivered_at', 'is', null)
    .execute();
  return true;
}

/** Stores that a run is paused, and returns what Temporal is owed for it. Only for one that `mayNotPause` lets pass. */
export async function storePause(
  trx: Transaction<Database>,
  run: StoppableRun,
  by: string,
  reason: string,
): Promise<number[]> {
  const until = new Date(Date.now() + run.waits.pauseMs);
  await trx
    .updateTable('agent_runs')
    .set({ status: 'paused', paused_by: by, waits_until: until })
    .where('id', '=', run.id)
    .execute();
  await audit(trx, run.tenant, { actor: by, action: 'run.pause', run: run.id, data: { reason } });
  const data = { by, reason, until: until.getTime() };
  await record(trx, run.tenant, run.id, { events: [{ kind: 'run.paused', data }] });
  return [await enqueue(trx, run.tenant, { kind: 'pause', runId: run.id, payload: { by } })];
}

/** Why a run cannot be paused; null where it can. */
export function mayNotPause(run: StoppableRun): string | null {
  if (run.cancel_requested_by !== null) return `Run ${run.id} is being cancelled.`;
  if (run.status === 'queued') return `Run ${run.id} is queued and does nothing yet. Cancel it if it is not wanted.`;
  if (run.status === 'budget_exceeded') {
    return `Run ${run.id} stands still for want of budget already. Raise its budget later, or cancel it.`;
  }
  return null;
}
