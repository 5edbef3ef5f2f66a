import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { CancelRunRequest, CancelRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { startQueued } from '#platform/database/admission.ts';
import { storeCancel } from '#platform/database/stopping.ts';
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
  const { closed, outbox } = await storeCancel(trx, run, by, reason);
  return closed ? startQueued(trx, run.tenant) : outbox;
}
