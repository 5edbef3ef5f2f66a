import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DecideRequest, DecideResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { readDecisionRequest, readRequestId } from '../deciding/answerable.ts';
import { decide as record } from '../deciding/decide.ts';
import { toWireApproval } from '../deciding/message.ts';
import type { GuardDeps } from '../deps.ts';

/** Records a person's answer, once per request id; the first answer to an approval wins. Then tells the run. */
export async function decide(
  ctx: CallContext,
  deps: GuardDeps,
  request: DecideRequest,
): Promise<MessageInitShape<typeof DecideResponseSchema>> {
  const requestId = readRequestId(request.requestId);
  const decided = await record(deps, ctx.principal, requestId, readDecisionRequest(request.decision));
  await deps.delivery.signal(decided.owed);
  return {
    decisionId: decided.question.decision.id,
    approval: toWireApproval(decided.question, null, decided.usersMayConfirm),
  };
}
