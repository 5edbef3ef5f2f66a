import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { isStewardError, StewardError } from '#domain/errors.ts';
import { mayDecide } from '#domain/verdict.ts';
import type { ConfirmDecisionRequest, ConfirmDecisionResponseSchema } from '#gen/steward/guard/v1/guard_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import type { SignedDecision } from '#platform/identity/decisions.ts';
import { toWireState } from '../deciding/message.ts';
import { type LockedQuestion, lockQuestion, mayUsersConfirm, noApproval, standingOf } from '../deciding/questions.ts';
import { recordDecision, recordExpiry, recordRefusedDecision } from '../deciding/record.ts';
import type { GuardDeps } from '../deps.ts';

type Response = MessageInitShape<typeof ConfirmDecisionResponseSchema>;

/** What a signed decision turned out to be, before the approval is looked at. */
type Verified =
  | { readonly decision: SignedDecision; readonly fault?: undefined }
  | { readonly decision?: undefined; readonly fault: StewardError };

/**
 * What was decided. A signed decision that holds is recorded first; one that does not is noted and refused. Where the
 * time has passed and nobody has decided, the approval is marked expired.
 */
export async function confirmDecision(
  _ctx: CallContext,
  deps: GuardDeps,
  request: ConfirmDecisionRequest,
): Promise<Response> {
  const grant = await deps.runGrants.verify(request.runGrant);
  const signed = request.signedDecision;
  const verified = signed === '' ? undefined : await verify(deps, signed);
  const outcome = await withTenant(deps.db, grant.tenant, async (trx): Promise<Response | StewardError> => {
    const question = await lockQuestion(trx, request.approvalId);
    if (question.run.id !== grant.run) throw noApproval(request.approvalId);
    const refused = verified && (await take(trx, question, verified, digestOf(signed)));
    return refused ?? answer(trx, request.approvalId);
  });
  deps.notifier.wake(grant.run);
  // Thrown here and not inside, so that the note of the refusal is kept.
  if (isStewardError(outcome)) throw outcome;
  return outcome;
}

async function verify(deps: GuardDeps, signed: string): Promise<Verified> {
  try {
    return { decision: await deps.decisions.verify(signed) };
  } catch (error) {
    if (isStewardError(error) && (error.code === 'DECISION_FORGED' || error.code === 'APPROVAL_EXPIRED'))
      return { fault: error };
    throw error;
  }
}

/** Records a signed decision where it holds and is the first; says so where it must be refused. */
async function take(
  trx: Transaction<Database>,
  question: LockedQuestion,
  { decision, fault }: Verified,
  tokenDigest: string,
): Promise<StewardError | undefined> {
  const refuse = async (code: string, why: string): Promise<void> => {
    await recordRefusedDecision(trx, question, { code, why, actor: decision?.decidedBy ?? 'unknown', tokenDigest });
  };
  // Genuine but late says nothing about who sent it: it is noted, and the approval's own clock decides.
  if (fault?.code === 'APPROVAL_EXPIRED') {
    await refuse(fault.code, fault.message);
    return undefined;
  }
  const why = fault ? fault.message : differs(question, decision);
  if (why !== null) {
    await refuse('DECISION_FORGED', why);
    return new StewardError('DECISION_FORGED', `This is no decision about approval ${question.approval.id}: ${why}`);
  }
  if (!decision || standingOf(question, question.run) !== 'open') return undefined;
  const actingUser = question.approval.acting_user;
  const person = { subject: decision.decidedBy, roles: decision.roles, onBehalfOf: null };
  if (!mayDecide(person, { actingUser }, await mayUsersConfirm(trx))) {
    await refuse('NOT_PERMITTED', `${decision.decidedBy} may not decide this`);
    return new StewardError(
      'DECISION_FORGED',
      `${decision.decidedBy} is not among those who may decide this approval.`,
    );
  }
  const { answer: given, reason, decidedBy, roles, id } = decision;
  await recordDecision(trx, question, { answer: given, reason, decidedBy, roles, requestId: id, via: 'signed' });
  return undefined;
}

/** Names the first claim that is not this approval's; null where all are. */
function differs({ approval, run }: LockedQuestion, decision: SignedDecision): string | null {
  const pairs: readonly (readonly [string, string, string])[] = [
    ['tenant', decision.tenant, run.tenant],
    ['run', decision.run, run.id],
    ['approval', decision.approval, approval.id],
    ['call', decision.call, approval.call_id],
    ['digest', decision.digest, approval.digest],
  ];
  const wrong = pairs.find(([, signed, actual]) => signed !== actual);
  return wrong ? `it was signed for another ${wrong[0]}.` : null;
}

async function answer(trx: Transaction<Database>, id: string): Promise<Response> {
  const question = await lockQuestion(trx, id);
  const standing = standingOf(question, question.run);
  if (standing === 'expired') await recordExpiry(trx, question);
  const { approval, decision } = question;
  return {
    state: toWireState(standing),
    callId: approval.call_id,
    digest: approval.digest,
    decidedBy: decision?.decided_by ?? '',
    reason: decision?.reason ?? '',
    decisionId: decision?.id ?? '',
  };
}
