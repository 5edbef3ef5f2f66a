import { type Followed, followRun } from '#client/follow.ts';
import { isStewardError } from '#domain/errors.ts';
import {
  type Effect,
  GetRunResponseSchema,
  type Run,
  type RunEvent,
  RunEventSchema,
  RunStatus,
  TextDeltaSchema,
  type ToolCall,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { documentText, toDocument } from './document.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { DeltaWriter } from './render/deltas.ts';
import { renderEvent } from './render/event.ts';
import { lookFor } from './render/look.ts';
import { dollars } from './render/money.ts';
import { statusName } from './render/status.ts';
import { renderSummary } from './render/summary.ts';
import { oneLine, visible, visibleLines } from './render/text.ts';
import { duration, millis } from './render/time.ts';
import { firstState, nextState, type WatchState, wantsCall, withCall } from './render/watch-state.ts';
import type { Session } from './session.ts';
import { note, print } from './terminal.ts';

export interface WatchOptions {
  readonly after: bigint;
  /** The model's words as they come. */
  readonly text: boolean;
}

const LOOKUP_MS = 2_000;
const MOST_CALLS = 50;
const AT_ONCE = 5;

/**
 * Shows a run live until it closes, then its summary. Ctrl-C ends the watching and leaves the run alone.
 * Exit code: ok where the run was completed, failed where it ended otherwise, interrupted.
 */
export async function watchRun(session: Session, runId: string, options: WatchOptions): Promise<ExitCode> {
  const { run } = await session.wait('Waiting for run-api', session.runs.getRun({ runId }));
  if (run !== undefined && !session.json) print(header(run, session));
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  const view = session.json ? new JsonView() : new TextView(session, run, runId);
  let last = options.after;
  try {
    for await (const item of followRun(session.runs, runId, { ...options, signal: interrupt.signal })) {
      if (item.kind === 'event') last = item.event.sequence;
      await view.show(item);
    }
  } catch (error) {
    const begun = last > options.after || (isStewardError(error) && error.code === 'UNAVAILABLE');
    if (begun) note(`To go on from here: ${resume(session, runId, last)}`);
    throw error;
  } finally {
    process.removeListener('SIGINT', onInterrupt);
    view.end();
  }
  if (interrupt.signal.aborted) {
    note(`Stopped watching; the run goes on. To go on from here: ${resume(session, runId, last)}`);
    return EXIT.interrupted;
  }
  return await conclude(session, runId);
}

function resume(session: Session, runId: string, last: bigint): string {
  return `${session.command} run watch ${runId}${last > 0n ? ` --after ${last}` : ''}`;
}

function header(run: Run, session: Session): readonly string[] {
  const { paint } = session.look;
  const budget = run.cost === undefined ? '' : `, budget ${dollars(run.cost.budgetMicroUsd)}`;
  const input = visibleLines(run.input.trim()).slice(0, 3);
  return [
    `${paint.bold(`Run ${visible(run.id)}`)}  ${visible(run.agent)} for ${visible(run.actingUser)}${budget}`,
    ...input.map((line) => `  ${paint.dim('│')} ${oneLine(line).slice(0, 200)}`),
    ...(run.temporalUi === '' ? [] : [`  ${paint.dim(visible(run.temporalUi))}`]),
  ];
}

interface View {
  show(item: Followed): Promise<void>;
  end(): void;
}

class TextView implements View {
  readonly #session: Session;
  readonly #deltas: DeltaWriter;
  #state: WatchState;

  constructor(session: Session, run: Run | undefined, runId: string) {
    this.#session = session;
    this.#deltas = new DeltaWriter(session.look);
    this.#state = firstState(runId, session.look, { startedAt: millis(run?.createdAt), command: session.command });
  }

  async show(item: Followed): Promise<void> {
    if (item.kind === 'delta') {
      process.stdout.write(this.#deltas.write(item.delta));
      return;
    }
    this.end();
    if (item.kind === 'broken') {
      note(`${oneLine(item.why)} Trying again in ${duration(item.waitMs)} (attempt ${item.attempt}).`);
      return;
    }
    // The terminal may have been resized.
    const look = { ...this.#state.look, width: lookFor(process.stdout).width };
    this.#state = nextState({ ...this.#state, look }, item.event);
    if (wantsCall(item.event)) await this.#lookUp(item.event);
    print(renderEvent(item.event, this.#state));
  }

  end(): void {
    process.stdout.write(this.#deltas.end());
  }

  // An event has no arguments; a line without them is better than none.
  async #lookUp({ callId }: RunEvent): Promise<void> {
    const request = { runId: this.#state.runId, callId };
    const answer = await this.#session.runs.getToolCall(request, { deadlineMs: LOOKUP_MS }).catch(() => null);
    if (answer?.call !== undefined) this.#state = withCall(this.#state, answer.call);
  }
}

class JsonView implements View {
  async show(item: Followed): Promise<void> {
    if (item.kind === 'event') print([documentText({ event: toDocument(RunEventSchema, item.event) }, 'line')]);
    if (item.kind === 'delta') print([documentText({ textDelta: toDocument(TextDeltaSchema, item.delta) }, 'line')]);
    if (item.kind === 'broken') note(documentText({ broken: item.why, attempt: item.attempt }, 'line'));
  }

  end(): void {}
}

async function conclude(session: Session, runId: string): Promise<ExitCode> {
  const answer = await session.wait('Waiting for run-api', session.runs.getRun({ runId }));
  const { run, effects } = answer;
  if (session.json) print([documentText(toDocument(GetRunResponseSchema, answer), 'line')]);
  else if (run !== undefined) {
    const calls = await callsOf(session, runId, effects);
    print(['', ...renderSummary(run, effects, calls, { ...session.look, now: Date.now() })]);
  }
  if (run?.status === RunStatus.COMPLETED) return EXIT.ok;
  if (run !== undefined && !session.json) note(`The run ended as ${statusName(run.status)}.`);
  return EXIT.failed;
}

/** The calls behind effects, as far as they can be had: at most 50, a few at a time. */
export async function callsOf(
  session: Session,
  runId: string,
  effects: readonly Effect[],
): Promise<readonly ToolCall[]> {
  const ids = effects.slice(0, MOST_CALLS).map((effect) => effect.callId);
  const calls: ToolCall[] = [];
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const some = ids.slice(at, at + AT_ONCE).map(async (callId) => {
      const answer = await session.runs.getToolCall({ runId, callId }, { deadlineMs: LOOKUP_MS }).catch(() => null);
      return answer?.call;
    });
    calls.push(...(await Promise.all(some)).filter((call) => call !== undefined));
  }
  return calls;
}
