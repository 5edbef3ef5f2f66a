import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { PauseRunRequest, PauseRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { mayNotPause, storePause } from '#platform/database/stopping.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { assertOpen, type LockedRun, lockRun, owedOf, readRun } from '../run-rows.ts';
import { toRun } from '../views/run.ts';

/** Lets calls in flight finish and starts nothing more. The row counts at once: the guard lets no further call begin. */
export async function pauseRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: PauseRunRequest,
): Promise<MessageInitShape<typeof PauseRunResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const checks = new Checks();
  checks.runId(request.runId);
  checks.line('request_id', request.requestId, { max: 100 });
  checks.text('reason', request.reason, { max: 500 });
  checks.done();
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const run = await lockRun(trx, ctx.principal, request.runId);
    assertOpen(run);
    const outbox = run.status === 'paused' ? await owedOf(trx, run.id) : await pause(trx, run, subject, request.reason);
    return { outbox, run: await readRun(trx, ctx.principal, run.id) };
  });
  deps.notifier.wake(request.runId);
  await deps.deliveries.send(tenant, done.outbox);
  return { run: toRun(done.run, deps.temporalUi) };
}

async function pause(trx: Transaction<Database>, run: LockedRun, by: string, reason: string): Promise<number[]> {
  const wrong = mayNotPause(run);
  if (wrong !== null) throw new StewardError('WRONG_STATE', wrong, { details: { status: run.status } });
  return storePause(trx, run, by, reason);
}
