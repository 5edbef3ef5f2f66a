import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type {
  AssignInvestigationRequest,
  AssignInvestigationResponseSchema,
} from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { lockInvestigation, toInvestigation } from '../investigating/rows.ts';

/** Gives an open investigation to somebody, or to nobody. */
export async function assignInvestigation(
  ctx: CallContext,
  deps: RunApiDeps,
  request: AssignInvestigationRequest,
): Promise<MessageInitShape<typeof AssignInvestigationResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const { runId, assignee } = request;
  const checks = new Checks();
  checks.runId(runId);
  checks.line('assignee', assignee, { max: 200 });
  checks.done();
  return withTenant(deps.db, tenant, async (trx) => {
    const row = await lockInvestigation(trx, runId);
    if (row.state === 'closed') {
      throw new StewardError('WRONG_STATE', `The investigation of run ${runId} is closed. Add a note to it instead.`, {
        details: { state: row.state },
      });
    }
    const assigned = { assignee: assignee === '' ? null : assignee };
    await trx.updateTable('investigations').set(assigned).where('run_id', '=', runId).execute();
    await audit(trx, tenant, { actor: subject, action: 'investigation.assign', run: runId, data: { assignee } });
    return { investigation: toInvestigation({ ...row, ...assigned }) };
  });
}
