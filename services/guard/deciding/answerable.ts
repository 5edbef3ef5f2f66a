import { StewardError } from '#domain/errors.ts';
import { mayDecide } from '#domain/verdict.ts';
import { Answer, type Decision } from '#gen/steward/guard/v1/approval_service_pb.ts';
import type { Principal } from '#platform/identity/principal.ts';
import type { RunRow } from '../runs.ts';
import { type Question, standingOf } from './questions.ts';

/** A decision as a request carries it, checked for form. */
export interface AskedDecision {
  readonly approvalId: string;
  readonly answer: 'approve' | 'deny';
  readonly digest: string;
  readonly reason: string;
}

const LONGEST_REASON = 2_000;

/** Throws INVALID_REQUEST naming the field that is missing or out of its range. */
export function readDecisionRequest(decision: Decision | undefined): AskedDecision {
  const refuse = (why: string): StewardError => new StewardError('INVALID_REQUEST', why);
  if (!decision) throw refuse('decision is missing.');
  const { approvalId, digest, reason } = decision;
  if (approvalId === '' || approvalId.length > 100) throw refuse('decision.approval_id must be 1 to 100 characters.');
  if (decision.answer !== Answer.APPROVE && decision.answer !== Answer.DENY) {
    throw refuse('decision.answer must be ANSWER_APPROVE or ANSWER_DENY.');
  }
  if (!/^[0-9a-f]{64}$/.test(digest)) {
    throw refuse('decision.digest must be the digest of the approval as it was shown: 64 lower-case hex digits.');
  }
  if ([...reason].length > LONGEST_REASON)
    throw refuse(`decision.reason must be at most ${LONGEST_REASON} characters.`);
  if (hasControl(reason)) throw refuse('decision.reason must have no control characters but line breaks and tabs.');
  return { approvalId, answer: decision.answer === Answer.APPROVE ? 'approve' : 'deny', digest, reason };
}

/** Throws INVALID_REQUEST where it is missing or too long. */
export function readRequestId(requestId: string): string {
  if (requestId !== '' && requestId.length <= 100 && !hasControl(requestId)) return requestId;
  throw new StewardError('INVALID_REQUEST', 'request_id must be 1 to 100 characters, chosen anew for every answer.');
}

function hasControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text);
}

/** Throws NOT_PERMITTED where this person may not answer this question. */
export function assertMayDecide(
  person: Pick<Principal, 'subject' | 'roles' | 'onBehalfOf'>,
  question: Question,
  usersMayConfirm: boolean,
): void {
  const actingUser = question.approval.acting_user;
  if (mayDecide(person, { actingUser }, usersMayConfirm)) return;
  const own = person.subject === actingUser;
  throw new StewardError(
    'NOT_PERMITTED',
    own
      ? 'This tenant does not let users confirm calls made for them. Ask an approver.'
      : 'You are not among those who may decide this: an approver of the tenant, or the user the run acts for.',
  );
}

/**
 * Throws where the question takes no answer any more, or not this one: APPROVAL_VOID, ALREADY_DECIDED with who decided,
 * APPROVAL_EXPIRED, DIGEST_MISMATCH.
 */
export function assertAnswerable(question: Question, run: Pick<RunRow, 'closed_at'> | null, digest: string): void {
  const { approval, decision } = question;
  if (decision) throw alreadyDecided(question);
  const standing = standingOf(question, run);
  if (standing === 'void') throw new StewardError('APPROVAL_VOID', 'The run was closed before anyone decided.');
  if (standing === 'expired') {
    const at = approval.expires_at.toISOString();
    throw new StewardError('APPROVAL_EXPIRED', `This approval expired at ${at}. The call will not run.`);
  }
  if (approval.digest === digest) return;
  throw new StewardError(
    'DIGEST_MISMATCH',
    'The digest is not that of this approval: another call was shown. Read the approval again and decide on what it says.',
  );
}

export function alreadyDecided({ approval, decision }: Question): StewardError {
  const answered = decision?.answer === 'approve' ? 'approved' : 'denied';
  return new StewardError('ALREADY_DECIDED', `${decision?.decided_by ?? 'Someone'} has ${answered} this already.`, {
    details: {
      approvalId: approval.id,
      decidedBy: decision?.decided_by ?? '',
      answer: decision?.answer ?? '',
      decidedAt: decision?.decided_at.toISOString() ?? '',
    },
  });
}
