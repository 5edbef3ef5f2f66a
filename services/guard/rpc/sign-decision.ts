import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';
import { workflowIdOf } from '#domain/ids.ts';
import { type DecideApprovalSignal, MAX_SIGNED_DECISION } from '#domain/run-workflow.ts';
import type { SignDecisionRequest, SignDecisionResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { assertAnswerable, assertMayDecide, readDecisionRequest } from '../deciding/answerable.ts';
import { mayUsersConfirm, readQuestion } from '../deciding/questions.ts';
import type { GuardDeps } from '../deps.ts';

/** What fits a signal beside the other claims, and the length the claim has. */
const LONGEST_REASON = 1_000;

/** Signs this person's answer for whoever signals the run. Nothing is decided until the run hands it to the guard. */
export async function signDecision(
  ctx: CallContext,
  deps: GuardDeps,
  request: SignDecisionRequest,
): Promise<MessageInitShape<typeof SignDecisionResponseSchema>> {
  const person = ctx.principal;
  const asked = readDecisionRequest(request.decision);
  if (asked.reason.length > LONGEST_REASON) throw tooLong();
  const id = randomUUID();
  const approval = await withTenant(deps.db, person.tenant, async (trx) => {
    const question = await readQuestion(trx, asked.approvalId);
    const run = await trx
      .selectFrom('agent_runs')
      .select('closed_at')
      .where('id', '=', question.approval.run_id)
      .executeTakeFirstOrThrow();
    assertMayDecide(person, question, await mayUsersConfirm(trx));
    assertAnswerable(question, run, asked.digest);
    await audit(trx, person.tenant, {
      actor: person.subject,
      action: 'decision.signed',
      run: question.approval.run_id,
      call: question.approval.call_id,
      digest: question.approval.digest,
      data: { approval: question.approval.id, decision: id, answer: asked.answer, reason: asked.reason },
    });
    return question.approval;
  });
  const signed = await deps.signDecision.sign({
    id,
    tenant: person.tenant,
    run: approval.run_id,
    call: approval.call_id,
    approval: approval.id,
    digest: approval.digest,
    answer: asked.answer,
    reason: asked.reason,
    decidedBy: person.subject,
    roles: [...person.roles],
    expiresAt: approval.expires_at,
  });
  if (signed.length > MAX_SIGNED_DECISION) throw tooLong();
  const signal: DecideApprovalSignal = { approvalId: approval.id, digest: approval.digest, signed };
  return {
    signedDecision: signed,
    signalJson: JSON.stringify(signal),
    workflowId: workflowIdOf(approval.run_id),
    expiresAt: timestampFromDate(approval.expires_at),
  };
}

function tooLong(): StewardError {
  return new StewardError(
    'INVALID_REQUEST',
    `decision.reason is too long for a signed decision. Use at most ${LONGEST_REASON} characters, fewer if not Latin.`,
  );
}
