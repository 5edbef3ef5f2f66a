import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { CancelRunRequest, CancelRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { closeUnstarted, startQueued } from '#platform/database/admission.ts';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { type LockedRun, lockRun, owedOf, readRun } from '../run-rows.ts';
import { toRun } from '../views/run.ts';

/**
 * Asks a run to stop. One that no workflow knows of is closed right here; for the others the request is committed, then
 * pushed to the workers and to Temporal. Cancelling twice is cancelling once.
 */
export async function cancelRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: CancelRunRequest,
): Promise<MessageInitShape<typeof CancelRunResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const checks = new Checks();
  checks.runId(request.runId);
  checks.line('request_id', request.requestId, { max: 100 });
  checks.text('reason', request.reason, { max: 500 });
  checks.done();
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const run = await lockRun(trx, ctx.principal, request.runId);
    const outbox = await cancel(trx, run, subject, request.reason);
    return { outbox, run: await readRun(trx, ctx.principal, run.id) };
  });
  deps.notifier.wake(request.runId);
  if (done.run.closed_at === null) deps.notifier.cancel(request.runId);
  await deps.deliveries.send(tenant, done.outbox);
  return { run: toRun(done.run, deps.temporalUi) };
}

/** Returns what is to be delivered. */
async function cancel(trx: Transaction<Database>, run: LockedRun, by: string, reason: string): Promise<number[]> {
  if (run.closed_at !== null) {
    if (run.status === 'cancelled') return [];
    throw new StewardError('WRONG_STATE', `Run ${run.id} is closed already: ${run.status}.`, {
      details: { status: run.status },
    });
  }
  if (run.cancel_requested_by !== null) return owedOf(trx, run.id);
  await trx
    .updateTable('agent_runs')
    .set({ cancel_requested_by: by, cancel_reason: reason })
    .where('id', '=', run.id)
    .execute();
  await audit(trx, run.tenant, { actor: by, action: 'run.cancel', run: run.id, data: { reason } });
  await record(trx, run.tenant, run.id, { events: [{ kind: 'run.cancelling', data: { by, reason } }] });
  if (!(await withdrawStart(trx, run))) return [await enqueue(trx, run.tenant, { kind: 'cancel', runId: run.id })];
  await closeUnstarted(trx, run.tenant, run.id, 'was cancelled before it began');
  return startQueued(trx, run.tenant);
}

/** True where no workflow has been started and none will be: its start was never tried, and is taken back. */
async function withdrawStart(trx: Transaction<Database>, run: LockedRun): Promise<boolean> {
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
