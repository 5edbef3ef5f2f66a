import { randomUUID } from 'node:crypto';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { DECIDE_APPROVAL } from '#domain/run-workflow.ts';
import {
  Answer,
  type Approval,
  DecideAndWaitResponseSchema,
  DecideResponseSchema,
  type SignDecisionResponse,
  SignDecisionResponseSchema,
} from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { type CheckedApproval, checkApproval } from '../approval-record.ts';
import { documentText, toDocument } from '../document.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { approvalLines } from '../render/approval.ts';
import { lookFor } from '../render/look.ts';
import { approvalStateName } from '../render/status.ts';
import { oneLine, visible } from '../render/text.ts';
import { when } from '../render/time.ts';
import type { Session } from '../session.ts';
import { canAsk, confirm, note, print } from '../terminal.ts';

interface ConfirmOptions {
  readonly reason?: string;
  readonly digest?: string;
  readonly yes?: true;
}

export interface DecideOptions extends ConfirmOptions {
  readonly requestId?: string;
  readonly wait?: true;
  /** Milliseconds. */
  readonly timeout?: number;
}

export interface SignOptions extends ConfirmOptions {
  readonly answer: 'approve' | 'deny';
}

type Wanted = 'approve' | 'deny';

const ANSWERS = { approve: Answer.APPROVE, deny: Answer.DENY } as const;
const CLOSED: Readonly<Record<number, ErrorCode>> = {
  [ApprovalState.EXPIRED]: 'APPROVAL_EXPIRED',
  [ApprovalState.VOID]: 'APPROVAL_VOID',
};
const WAIT_MS = 30_000;
const SIGNAL: typeof DECIDE_APPROVAL = 'decideApproval';

/** Shows the approval, makes sure that it is meant, and records the answer under the digest that was shown. */
export async function decide(session: Session, wanted: Wanted, options: DecideOptions, id: string): Promise<ExitCode> {
  const checked = await load(session, id);
  // A repeat under a known request id gets the recorded answer, whatever the state.
  if (options.requestId === undefined) assertOpen(checked.approval, session);
  if (!(await agreed(session, checked, wanted, options, session.json ? 'stderr' : 'stdout'))) return EXIT.failed;
  session.requestId = options.requestId ?? randomUUID();
  const request = { requestId: session.requestId, decision: decisionOf(checked.approval, wanted, options) };
  if (options.wait === true) {
    const deadlineMs = options.timeout ?? WAIT_MS;
    const call = session.approvals.decideAndWait(request, { deadlineMs });
    const answer = await session.wait('Waiting for the run', call);
    const state = answer.applied ? 'the run has taken it over' : 'the run has not taken it over yet';
    session.show(DecideAndWaitResponseSchema, answer, () => [`${done(answer.approval, wanted)}; ${state}`]);
    return EXIT.ok;
  }
  const answer = await session.wait('Deciding', session.approvals.decide(request));
  session.show(DecideResponseSchema, answer, () => [done(answer.approval, wanted)]);
  return EXIT.ok;
}

/** As `decide`, but signs the answer for a tool that signals Temporal itself. The approval goes to stderr. */
export async function sign(session: Session, options: SignOptions, id: string): Promise<ExitCode> {
  const checked = await load(session, id);
  assertOpen(checked.approval, session);
  if (!(await agreed(session, checked, options.answer, options, 'stderr'))) return EXIT.failed;
  const decision = decisionOf(checked.approval, options.answer, options);
  const answer = await session.wait('Signing', session.approvals.signDecision({ decision }));
  const command = signalCommand(answer, session);
  if (session.json) {
    print([documentText({ ...(toDocument(SignDecisionResponseSchema, answer) as object), command })]);
    return EXIT.ok;
  }
  note(`Valid until ${when(answer.expiresAt, session.look)}, for this exact call. Whoever has it can deliver it.`);
  print([answer.signalJson, command]);
  return EXIT.ok;
}

async function load(session: Session, approvalId: string): Promise<CheckedApproval> {
  return checkApproval(await session.wait('Waiting for the guard', session.approvals.getApproval({ approvalId })));
}

function assertOpen(approval: Approval, session: Session): void {
  if (approval.state === ApprovalState.OPEN) return;
  const state = approvalStateName(approval.state);
  const by =
    approval.decidedBy === '' ? '' : ` by ${visible(approval.decidedBy)}, ${when(approval.decidedAt, session.look)}`;
  throw new StewardError(
    CLOSED[approval.state] ?? 'ALREADY_DECIDED',
    `Approval ${visible(approval.id)} is not open: ${state}${by}.`,
  );
}

async function agreed(
  session: Session,
  { approval, argsJson }: CheckedApproval,
  wanted: Wanted,
  options: ConfirmOptions,
  where: 'stdout' | 'stderr',
): Promise<boolean> {
  if (options.digest !== undefined && options.digest !== approval.digest) {
    throw new StewardError(
      'DIGEST_MISMATCH',
      `Approval ${visible(approval.id)} is about another call: its digest is ${visible(approval.digest)}.`,
    );
  }
  const sure = options.digest !== undefined || options.yes === true;
  if (!sure && !canAsk()) {
    throw new StewardError(
      'INVALID_REQUEST',
      'There is no terminal to ask at. Add --digest with the digest that was shown to whoever decides, or --yes.',
    );
  }
  if (where === 'stdout') print(approvalLines(approval, session.look, argsJson));
  else if (!sure || !session.json) {
    note(approvalLines(approval, lookFor(process.stderr), argsJson).join('\n'));
  }
  if (sure || (await confirm(wanted === 'approve' ? 'Approve this exact call?' : 'Deny this call?'))) return true;
  note('Nothing was decided.');
  return false;
}

function decisionOf(approval: Approval, wanted: Wanted, options: ConfirmOptions) {
  return {
    approvalId: approval.id,
    answer: ANSWERS[wanted],
    digest: approval.digest,
    reason: options.reason ?? '',
  };
}

function done(approval: Approval | undefined, wanted: Wanted): string {
  const verb = wanted === 'approve' ? 'Approved' : 'Denied';
  if (approval === undefined) return verb;
  const reason = approval.reason === '' ? '' : `: ${oneLine(approval.reason)}`;
  return `${verb} by ${visible(approval.decidedBy)}: ${visible(approval.tool)} in run ${visible(approval.runId)}${reason}`;
}

function signalCommand(answer: SignDecisionResponse, session: Session): string {
  const { local } = session.target;
  const where = local === null ? [] : ['--address', local.temporal, '--namespace', local.namespace];
  const words = ['--workflow-id', answer.workflowId, '--name', SIGNAL, '--input', answer.signalJson, ...where];
  return ['temporal workflow signal', ...words.map(quoted)].join(' ');
}

function quoted(word: string): string {
  return /^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
