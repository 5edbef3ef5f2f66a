import type { MessageInitShape } from '@bufbuild/protobuf';
import { isStewardError } from '#domain/errors.ts';
import type { DecideAndWaitRequest, DecideAndWaitResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { readDecisionRequest, readRequestId } from '../deciding/answerable.ts';
import { decide } from '../deciding/decide.ts';
import { toWireApproval } from '../deciding/message.ts';
import type { Owed } from '../delivery.ts';
import type { GuardDeps } from '../deps.ts';

/** Kept of the caller's deadline for saying that it was too short. */
const RESERVE_MS = 500;

/** As Decide, and waits until the run has taken the answer over. */
export async function decideAndWait(
  ctx: CallContext,
  deps: GuardDeps,
  request: DecideAndWaitRequest,
): Promise<MessageInitShape<typeof DecideAndWaitResponseSchema>> {
  const requestId = readRequestId(request.requestId);
  const decided = await decide(deps, ctx.principal, requestId, readDecisionRequest(request.decision));
  const applied = await apply(ctx, deps, decided.owed);
  return {
    decisionId: decided.question.decision.id,
    approval: toWireApproval(decided.question, null, decided.usersMayConfirm),
    applied,
  };
}

async function apply(ctx: CallContext, deps: GuardDeps, owed: Owed): Promise<boolean> {
  try {
    return await deps.delivery.update(owed, new Date(ctx.deadline.getTime() - RESERVE_MS));
  } catch (error) {
    // The answer is recorded; only the waiting failed. What is owed is delivered now, or by the sweeper.
    if (isStewardError(error) && error.code === 'DEADLINE') throw error;
    deps.log.warn({ run: owed.run, err: error }, 'the run was not reached by Update');
    await deps.delivery.signal(owed);
    return false;
  }
}
