import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  CloseInvestigationRequest,
  CloseInvestigationResponseSchema,
} from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { lockInvestigation, toInvestigation } from '../investigating/rows.ts';

/** Closes an investigation with what was found. A repeat changes nothing. */
export async function closeInvestigation(
  ctx: CallContext,
  deps: RunApiDeps,
  request: CloseInvestigationRequest,
): Promise<MessageInitShape<typeof CloseInvestigationResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const { runId, finding } = request;
  const checks = new Checks();
  checks.runId(runId);
  checks.text('finding', finding, { min: 1, max: 4_000 });
  checks.done();
  return withTenant(deps.db, tenant, async (trx) => {
    const row = await lockInvestigation(trx, runId);
    if (row.state === 'closed') return { investigation: toInvestigation(row) };
    const end = { state: 'closed', closed_at: new Date(), closed_by: subject, finding } as const;
    await trx.updateTable('investigations').set(end).where('run_id', '=', runId).execute();
    await audit(trx, tenant, { actor: subject, action: 'investigation.close', run: runId, data: { finding } });
    return { investigation: toInvestigation({ ...row, ...end }) };
  });
}
