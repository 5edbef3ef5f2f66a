import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GetApprovalRequest, GetApprovalResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { toWireApproval } from '../deciding/message.ts';
import { mayUsersConfirm, noApproval, readQuestion } from '../deciding/questions.ts';
import { maySee } from '../deciding/visible.ts';
import type { GuardDeps } from '../deps.ts';

/** One approval, with the exact call. NOT_FOUND also where it is not this caller's to see. */
export async function getApproval(
  ctx: CallContext,
  deps: GuardDeps,
  request: GetApprovalRequest,
): Promise<MessageInitShape<typeof GetApprovalResponseSchema>> {
  const id = request.approvalId;
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const question = await readQuestion(trx, id);
    const run = await trx
      .selectFrom('agent_runs')
      .select(['closed_at', 'started_by', 'acting_user'])
      .where('id', '=', question.approval.run_id)
      .executeTakeFirstOrThrow();
    if (!maySee(ctx.principal, run)) throw noApproval(id);
    return {
      approval: toWireApproval(question, run, await mayUsersConfirm(trx)),
      actionRecord: question.approval.action_record,
    };
  });
}
