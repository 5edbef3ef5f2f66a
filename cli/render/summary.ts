import { type Effect, type Run, RunStatus, type ToolCall } from '#gen/steward/run/v1/run_service_pb.ts';
import { commandName } from '../terminal.ts';
import { changeLines } from './change.ts';
import type { Look } from './look.ts';
import { costText, runTime, tokenText } from './run.ts';
import { statusColour, statusName } from './status.ts';
import { count, oneLine, visible, visibleLines, wrap } from './text.ts';
import { duration } from './time.ts';
import { isToUndo, standingLine } from './undo.ts';

/** What the summary takes of a call; `ToolCall` of the run service fits. */
export type CallFacts = Pick<ToolCall, 'callId' | 'decisionReason'>;

/** Effects that are shown with their diff; the others are counted. */
const MOST = 50;

/**
 * How a run ended and the four answers: who approved what it did, what changed, how to undo it, what it cost. `calls`
 * may lack some or all; what they would have told is left out. `command`: how the reader calls `steward`.
 */
export function renderSummary(
  run: Run,
  effects: readonly Effect[],
  calls: readonly CallFacts[],
  look: Look,
  command = commandName(),
): readonly string[] {
  return [
    ...headline(run, look),
    '',
    ...fourAnswers(run, effects, calls, look, command),
    ...(run.temporalUi === '' ? [] : ['', `${look.paint.dim('Temporal')}  ${visible(run.temporalUi)}`]),
  ];
}

/** The four answers alone. */
export function fourAnswers(
  run: Run,
  effects: readonly Effect[],
  calls: readonly CallFacts[],
  look: Look,
  command = commandName(),
): readonly string[] {
  const known = new Map(calls.map((call) => [call.callId, call]));
  const inner = { ...look, width: look.width - 2 };
  const answers: readonly (readonly [string, readonly string[]])[] = [
    ['Who approved it', approvals(effects, known, inner)],
    ['What changed', changes(effects, inner)],
    ['How to undo it', undos(run, effects, command, inner)],
    ['What it cost', costs(run)],
  ];
  return answers.flatMap(([title, lines], at) => [
    ...(at === 0 ? [] : ['']),
    look.paint.bold(title),
    ...lines.map((line) => `  ${line}`),
  ]);
}

function headline(run: Run, look: Look): readonly string[] {
  const took = runTime(run, look.now);
  const status = look.paint[statusColour(run.status)](look.paint.bold(statusName(run.status).replaceAll('_', ' ')));
  const why = run.status === RunStatus.COMPLETED || run.stopReason === '' ? '' : ` (${visible(run.stopReason)})`;
  const time = took === null ? '' : ` after ${duration(took)}`;
  const work = `${count(run.turns, 'turn')}, ${count(run.toolCalls, 'tool call')}`;
  const said = visibleLines(run.outcome).flatMap((line) => wrap(line, look.width - 4));
  return [
    `Run ${visible(run.id)} ${status}${why}${time}: ${work}`,
    ...(run.continues === '' ? [] : [`${look.paint.dim('continues')}  ${visible(run.continues)}`]),
    ...(run.outcome === '' ? [] : ['', ...said.map((line) => `  ${look.paint.dim('│')} ${line}`)]),
  ];
}

const named = (effect: Effect): string => `${visible(effect.callId)} ${visible(effect.tool)}`;

function approvals(effects: readonly Effect[], known: ReadonlyMap<string, CallFacts>, look: Look): readonly string[] {
  if (effects.length === 0) return ['nothing was changed, so nothing was approved'];
  const people = [...new Set(effects.map((effect) => effect.approvedBy))];
  return people.flatMap((person) => {
    const theirs = effects.filter((effect) => effect.approvedBy === person);
    const name = look.paint.bold(person === '' ? 'not known' : visible(person));
    if (person === 'policy') return [`${name}  ${tally(theirs)}`];
    return [name, ...theirs.map((effect) => `  ${named(effect)}${reason(known.get(effect.callId))}`)];
  });
}

function reason(call: CallFacts | undefined): string {
  return call === undefined || call.decisionReason === '' ? '' : `: “${oneLine(call.decisionReason)}”`;
}

function tally(effects: readonly Effect[]): string {
  const tools = [...new Set(effects.map((effect) => effect.tool))];
  return tools
    .map((tool) => {
      const times = effects.filter((effect) => effect.tool === tool).length;
      return `${visible(tool)}${times > 1 ? ` ×${times}` : ''}`;
    })
    .join(', ');
}

function changes(effects: readonly Effect[], look: Look): readonly string[] {
  if (effects.length === 0) return ['nothing'];
  const shown = effects.slice(0, MOST).flatMap((effect) => {
    const doubt = effect.certain ? '' : look.paint.red('  OUTCOME UNKNOWN: look whether it took place');
    const summary = effect.change === undefined ? '' : `  ${oneLine(effect.change.summary)}`;
    const head = `${look.paint.dim(named(effect))}${summary}${doubt}`;
    const diff =
      effect.change === undefined ? [] : changeLines(effect.change, look, { indent: '  ', fieldsOnly: true });
    return [head, ...diff];
  });
  const more = effects.length - MOST;
  return more > 0 ? [...shown, `and ${count(more, 'more effect')}`] : shown;
}

function undos(run: Run, effects: readonly Effect[], command: string, look: Look): readonly string[] {
  if (effects.length === 0) return ['nothing to undo'];
  const when = run.closedAt === undefined ? '  once it has ended' : '';
  // The newest first: that is the order in which they are undone.
  return [
    ...(effects.some(isToUndo) ? [`${look.paint.bold(`${command} run undo ${visible(run.id)}`)}${when}`] : []),
    ...effects.toReversed().map((effect) => standingLine(effect, look)),
  ];
}

function costs(run: Run): readonly string[] {
  const tokens = tokenText(run.cost);
  return [costText(run.cost), ...(tokens === '' ? [] : [tokens])].filter((line) => line !== '');
}
