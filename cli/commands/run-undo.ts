import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  type Effect,
  type GetUndoResponse,
  GetUndoResponseSchema,
  type Undo,
  UndoState,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { action } from '../action.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { gather } from '../input.ts';
import { lookFor } from '../render/look.ts';
import { count, visible } from '../render/text.ts';
import { isToUndo, plannedLines, stepLine } from '../render/undo.ts';
import type { Session } from '../session.ts';
import { canAsk, confirm, note, print } from '../terminal.ts';

interface UndoOptions {
  readonly call?: readonly string[];
  readonly reason?: string;
  readonly requestId?: string;
  readonly yes?: true;
}

const LOOK_MS = 500;
/** So long without any step coming to an end, and the command ends; the undo goes on. */
const PATIENCE_MS = 15 * 60_000;

/** Adds `run undo`. */
export function addRunUndo(parent: Command): void {
  parent
    .command('undo')
    .summary('undo what a run has changed')
    .description(
      'Undoes what a closed run has changed, the last effect first. Shows what that changes, asks, and waits until it is ' +
        'done. A record that somebody has changed since is left as it is, and the others are undone all the same.',
    )
    .argument('<run>', 'run id')
    .option('--call <id>', 'undo only this effect, as in 4.1; may be repeated', gather)
    .option('--reason <text>', 'why, for the record')
    .option('--yes', 'do not ask')
    .option('--request-id <id>', 'do it once per id, however often this is repeated')
    .action(action<UndoOptions>((session, options, [runId = '']) => undo(session, options, runId)));
}

async function undo(session: Session, options: UndoOptions, runId: string): Promise<ExitCode> {
  // A repeat under a known request id gets the undo as it stands, whatever is left to undo.
  if (options.requestId === undefined) {
    const effects = await effectsToUndo(session, options, runId);
    const left = effects.some(isToUndo);
    if (!left && !session.json) {
      print([...plannedLines(effects, session.look), 'There is nothing left to undo.']);
      return effects.some((effect) => effect.undoState === UndoState.UNDONE) ? EXIT.ok : EXIT.failed;
    }
    if (left && !(await agreed(session, effects, options))) return EXIT.failed;
  }
  session.requestId = options.requestId ?? randomUUID();
  const callIds = [...(options.call ?? [])];
  const request = { runId, requestId: session.requestId, reason: options.reason ?? '', callIds };
  const begun = await session.wait('Asking for the undo', session.runs.undoRun(request));
  if (begun.undo === undefined) throw new StewardError('INTERNAL', 'run-api answered without an undo.');
  return await follow(session, begun.undo);
}

async function effectsToUndo(session: Session, options: UndoOptions, runId: string): Promise<readonly Effect[]> {
  const { run, effects } = await session.wait('Waiting for run-api', session.runs.getRun({ runId }));
  if (run === undefined) throw new StewardError('INTERNAL', 'run-api answered without a run.');
  if (run.closedAt === undefined) {
    throw new StewardError(
      'WRONG_STATE',
      `Run ${visible(run.id)} has not ended: only a closed run can be undone. Let it end, or cancel it first.`,
    );
  }
  const wanted = options.call;
  if (wanted === undefined) return effects;
  const missing = wanted.find((id) => !effects.some((effect) => effect.callId === id));
  if (missing === undefined) return effects.filter((effect) => wanted.includes(effect.callId));
  throw new StewardError('NOT_FOUND', `Call ${visible(missing)} of run ${visible(run.id)} has changed nothing.`);
}

function show(session: Session, effects: readonly Effect[]): void {
  if (!session.json) print(plannedLines(effects, session.look));
  else note(plannedLines(effects, lookFor(process.stderr)).join('\n'));
}

async function agreed(session: Session, effects: readonly Effect[], options: UndoOptions): Promise<boolean> {
  if (options.yes !== true && !canAsk()) {
    throw new StewardError(
      'INVALID_REQUEST',
      'There is no terminal to ask at. Add --yes once you know what it changes.',
    );
  }
  if (options.yes !== true || !session.json) show(session, effects);
  const effectsText = count(effects.filter(isToUndo).length, 'effect');
  if (options.yes === true || (await confirm(`Undo ${effectsText}, in this order?`))) return true;
  note('Nothing was undone.');
  return false;
}

/** Shows every step as it ends. Ctrl-C ends the watching and leaves the undo alone. */
async function follow(session: Session, begun: Undo): Promise<ExitCode> {
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  let answer: GetUndoResponse | undefined;
  const shown = new Set<string>();
  try {
    for (let current: Undo = begun, since = Date.now(); ; ) {
      const news = current.steps.filter((step) => step.state !== UndoState.PENDING && !shown.has(step.callId));
      if (news.length > 0) since = Date.now();
      for (const step of news) shown.add(step.callId);
      if (!session.json) print(news.map((step) => stepLine(step, session.look)));
      const next = current.steps.find((step) => step.state === UndoState.PENDING);
      if (next === undefined && answer !== undefined) break;
      if (Date.now() - since > PATIENCE_MS) {
        throw new StewardError(
          'DEADLINE',
          `The undo ${current.id} goes on by itself, and nothing of it has ended for long.`,
        );
      }
      const what = next === undefined ? 'Undoing' : `Undoing ${visible(next.callId)} ${visible(next.tool)}`;
      answer = await session.wait(what, lookAgain(session, begun.id, shown, interrupt.signal));
      current = answer.undo ?? current;
    }
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    note(
      `Stopped watching; the undo goes on. To see what came of it: ${session.command} run get ${visible(begun.runId)}`,
    );
    return EXIT.interrupted;
  } finally {
    process.removeListener('SIGINT', onInterrupt);
  }
  if (session.json) session.show(GetUndoResponseSchema, answer, () => []);
  const states = (answer.undo?.steps ?? []).map((step) => step.state);
  const failed = states.some((state) => state === UndoState.REFUSED || state === UndoState.UNKNOWN);
  return failed || !states.includes(UndoState.UNDONE) ? EXIT.failed : EXIT.ok;
}

/** Looks until a further step has ended, or for a while. */
async function lookAgain(
  session: Session,
  undoId: string,
  shown: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<GetUndoResponse> {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await session.runs.getUndo({ undoId }, { signal });
    const ended = (answer.undo?.steps ?? []).filter((step) => step.state !== UndoState.PENDING);
    const over = ended.length === (answer.undo?.steps.length ?? 0);
    if (over || ended.some((step) => !shown.has(step.callId)) || Date.now() > until) return answer;
    await sleep(LOOK_MS, undefined, { signal });
  }
}
