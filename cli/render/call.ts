import type { Step, ToolCall } from '#gen/steward/run/v1/run_service_pb.ts';
import { changeLines } from './change.ts';
import { argumentLines, jsonLines } from './json-value.ts';
import type { Colour, Look } from './look.ts';
import { dollars } from './money.ts';
import { type Field, fields } from './table.ts';
import { oneLine, padEnd, truncate, visible } from './text.ts';
import { clock, duration, millis, when } from './time.ts';

const STATE_COLOUR: Readonly<Record<string, Colour>> = {
  done: 'green',
  refused: 'yellow',
  denied: 'red',
  failed: 'red',
  cancelled: 'yellow',
  outcome_unknown: 'red',
};

/** One tool call whole: arguments, verdict, approval, result, change, cost. */
export function callLines(call: ToolCall, look: Look): readonly string[] {
  const { paint } = look;
  const section = (title: string, lines: readonly string[]): readonly string[] =>
    lines.length === 0 ? [] : [`  ${paint.dim(title)}`, ...lines];
  const state = paint[STATE_COLOUR[call.state] ?? 'cyan'](visible(call.state));
  const rows: readonly Field[] = [
    ['Run', visible(call.runId)],
    ['Tool', visible(`${call.tool} of ${call.catalog}`)],
    ['Verdict', visible([call.verdict, call.verdictCode].filter((part) => part !== '').join(', '))],
    ['Why', call.why.map(visible)],
    ['Approval', call.approvalId === '' ? '' : visible(call.approvalId)],
    ['Decided by', decided(call)],
    ['Error', call.errorCode === '' ? '' : `${visible(call.errorCode)}: ${oneLine(call.errorMessage)}`],
    ['Attempts', call.attempts > 1 ? String(call.attempts) : ''],
    ['Started', call.startedAt === undefined ? '' : when(call.startedAt, look)],
    ['Took', took(call)],
    ['Cost', `${dollars(call.costMicroUsd)}, its share of the turn`],
    ['Undo', call.change === undefined ? '' : call.undoable ? 'can be undone' : 'cannot be undone'],
    ['Key', visible(call.key)],
    ['Digest', visible(call.digest)],
    ['Tool hash', visible(call.toolHash)],
    ['Policy set', visible(call.policySetHash)],
  ];
  const change = call.change ?? call.preview;
  return [
    `${paint.bold(`Call ${visible(call.callId)}`)}  ${state}`,
    ...fields(rows, look, 2),
    ...section('Arguments', argumentLines(call.argsJson, look, '    ')),
    ...section(
      call.change === undefined ? 'What it would change' : 'What it changed',
      change === undefined ? [] : changeLines(change, look, { indent: '    ', whole: true }),
    ),
    ...section('Result', call.resultJson === '' ? [] : jsonLines(call.resultJson, look, '    ')),
  ];
}

function decided(call: ToolCall): string {
  if (call.decidedBy === '') return '';
  return visible(call.decidedBy) + (call.decisionReason === '' ? '' : `: “${oneLine(call.decisionReason)}”`);
}

function took(call: ToolCall): string {
  const from = millis(call.startedAt);
  const to = millis(call.endedAt);
  return from === null || to === null ? '' : duration(to - from);
}

/** One step on one line: number, time, turn or call, kind, cost, and the beginning of its content. */
export function stepLine(step: Step, look: Look): string {
  const at = millis(step.time);
  const left = [
    String(step.number).padStart(4),
    at === null ? '' : clock(at, look).slice(11),
    padEnd(visible(step.callId === '' ? String(step.turn) : step.callId), 5),
    padEnd(visible(step.kind), 13),
    padEnd(step.costMicroUsd > 0n ? dollars(step.costMicroUsd) : '', 8),
  ].join('  ');
  return `${look.paint.dim(left)}  ${truncate(visible(step.contentJson), Math.min(400, look.width - left.length - 2))}`;
}
