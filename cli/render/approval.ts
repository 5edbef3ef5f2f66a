import type { Approval } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { changeLines } from './change.ts';
import { argumentLines } from './json-value.ts';
import type { Look } from './look.ts';
import { approvalStateColour, approvalStateName } from './status.ts';
import { type Column, type Field, fields, table } from './table.ts';
import { oneLine, visible } from './text.ts';
import { millis, relative, when } from './time.ts';

const TIERS: Readonly<Record<number, string>> = {
  1: '1, soft',
  2: '2, soft with a reason',
  3: '3, hard: one person, this exact call',
  4: '4, two persons with a delay',
};

/**
 * One approval, whole: what will run with its exact arguments, what it would change, why a person is asked, and the
 * digest that an answer is bound to. Nothing is cut. `argsJson`: the arguments out of the action record, where that was
 * read; they are what the digest covers.
 */
export function approvalLines(approval: Approval, look: Look, argsJson: string = approval.argsJson): readonly string[] {
  const { paint } = look;
  const state = paint[approvalStateColour(approval.state)](approvalStateName(approval.state));
  const heading = (text: string): string => `  ${paint.dim(text)}`;
  const inner = { ...look, width: look.width };
  const top: readonly Field[] = [
    ['Run', `${visible(approval.runId)}, call ${visible(approval.callId)}`],
    ['Agent', `${visible(approval.agent)} for ${visible(approval.actingUser)}`],
    ['Tool', paint.bold(`${visible(approval.tool)}`) + paint.dim(` of ${visible(approval.catalog)}`)],
  ];
  const bottom: readonly Field[] = [
    ['Why', approval.why.map(visible)],
    ['Tier', TIERS[approval.tier] ?? String(approval.tier)],
    ['Who', approval.userMayConfirm ? `an approver, or ${visible(approval.actingUser)}` : 'an approver'],
    ['Asked', when(approval.createdAt, look)],
    ['Open until', approval.state === ApprovalState.OPEN ? when(approval.expiresAt, look) : ''],
    ['Decided', decided(approval, look)],
    ['Reason', approval.reason === '' ? '' : visible(approval.reason)],
    ['Digest', visible(approval.digest)],
  ];
  return [
    `${paint.bold(`Approval ${visible(approval.id)}`)}  ${state}`,
    ...fields(top, look, 2),
    heading('Arguments, exactly as it will run'),
    ...argumentLines(argsJson, inner, '    '),
    heading('What it would change'),
    ...previewLines(approval, inner),
    ...fields(bottom, look, 2),
  ];
}

function previewLines(approval: Approval, look: Look): readonly string[] {
  if (approval.preview !== undefined) return changeLines(approval.preview, look, { indent: '    ', whole: true });
  const why = approval.previewError === '' ? 'the tool has none' : oneLine(approval.previewError);
  return [`    ${look.paint.yellow(`no preview: ${why}`)}`];
}

function decided(approval: Approval, look: Look): string {
  if (approval.decidedBy === '') return '';
  return `by ${visible(approval.decidedBy)}, ${when(approval.decidedAt, look)}`;
}

/** Approvals as a table, in the order given. */
export function approvalTable(approvals: readonly Approval[], look: Look): readonly string[] {
  const until = (approval: Approval): string => {
    if (approval.state !== ApprovalState.OPEN) return approval.decidedBy === '' ? '' : `by ${approval.decidedBy}`;
    const at = millis(approval.expiresAt);
    return at === null ? '' : relative(at, look.now);
  };
  const columns: readonly Column<Approval>[] = [
    { title: 'APPROVAL', cell: (one) => one.id },
    {
      title: 'STATE',
      cell: (one) => approvalStateName(one.state),
      paint: (text, one) => look.paint[approvalStateColour(one.state)](text),
    },
    { title: 'TOOL', cell: (one) => one.tool, shrinks: true },
    { title: 'RUN', cell: (one) => one.runId },
    { title: 'FOR', cell: (one) => one.actingUser, shrinks: true },
    { title: 'EXPIRES', cell: until },
    { title: 'WHAT', cell: (one) => oneLine(one.preview?.summary ?? ''), shrinks: true },
  ];
  return table(columns, approvals, look);
}
