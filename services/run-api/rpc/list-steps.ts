import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ListStepsRequest, ListStepsResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';
import { readSteps } from '../steps.ts';

const PAGE = 50;
const MOST = 200;

/** The run's steps in order, each exactly as it was stored. */
export async function listSteps(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListStepsRequest,
): Promise<MessageInitShape<typeof ListStepsResponseSchema>> {
  const checks = new Checks();
  checks.runId(request.runId);
  checks.that(request.afterStep >= 0, 'after_step', 'must not be negative');
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const run = await readRun(trx, ctx.principal, request.runId);
    return await readSteps(trx, run.id, request.afterStep, size);
  });
}
