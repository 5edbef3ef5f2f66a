import { randomUUID } from 'node:crypto';
import type { Usage } from '#domain/conversation.ts';
import { isRetryable, isStewardError, MODEL_OUTAGES, StewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelChooser, ModelPort, ModelRequest, ModelRoute } from '#domain/ports/model.ts';
import type { RunActivities, ThinkInput, ThinkResult } from '#domain/ports/run-activities.ts';
import type { AttemptEnd, OpenedTurn, RunRef, StoredTurn, TurnStore } from '#domain/ports/run-store.ts';
import type { GuardPort } from '#domain/ports/services.ts';
import { STOP_TEXT } from '#domain/run.ts';
import { type ActivityLog, runActivity, type StopPush, whatStops } from '../run-context.ts';
import type { BegunCalls } from '../tools/begun-calls.ts';
import { TextWriter } from './text-writer.ts';

/** A model call takes at most so long; the adapter ends it. */
export const MODEL_CALL_MS = 10 * 60_000;
/** An attempt that has not settled so long after its start is dead: the sweeper charges it at its reservation. */
export const ATTEMPT_DEAD_AFTER_MS = MODEL_CALL_MS + 60_000;

/** A model call waits for its user's many others so long at most: with a whole model call it stays within the activity. */
const LONGEST_THROTTLE_MS = 75_000;

/** More calls of one turn the guard does not judge. */
const MOST_PROPOSALS = 50;

/** Storing an answer is tried for about 25 s: 200 ms, 400 ms, … 12.8 s apart. */
const STORE_FIRST_WAIT_MS = 200;
const STORE_LAST_WAIT_MS = 12_800;

/** Between the failure of one provider's model and the call of the other's. */
const SWITCH_AFTER_MS = 100;

export interface ThinkDeps {
  readonly store: TurnStore;
  readonly model: ModelPort;
  /** Chooses between an agent's models; without it, its first one is asked. */
  readonly chooser?: ModelChooser;
  readonly guard: GuardPort;
  readonly push: StopPush;
  readonly log: ActivityLog;
  /** Where `act` finds what was begun. */
  readonly begun: BegunCalls;
  /** Tells watchers that the run has changed. */
  readonly wake: (run: string) => void;
}

/** The `think` activity: one model call, stored before anything is done about it, and its calls judged. */
export function createThink(deps: ThinkDeps): RunActivities['think'] {
  return (input) =>
    runActivity(input, deps.push, deps.log, async (signal, attempt) => {
      const ref: RunRef = { tenant: input.tenant, run: input.run };
      let { attemptId, opened } = await open(deps, ref, input.turn, attempt, signal);
      if (opened.kind === 'summarise') {
        await summarise(deps, ref, input, opened, attemptId, signal);
        ({ attemptId, opened } = await open(deps, ref, input.turn, attempt, signal));
      }
      switch (opened.kind) {
        case 'summarise':
          throw new StewardError('UNAVAILABLE', 'Other attempts at this turn sum it up. Try again.');
        case 'too_long':
          throw new StewardError(
            'MODEL_REQUEST_REFUSED',
            `The conversation may come to ${opened.tokens} tokens, and the window for prompt and answer has ${opened.most}. ` +
              "Shorten the request, or raise the agent's context.max_tokens.",
          );
        case 'budget':
          return { kind: 'budget', level: opened.level, needMicroUsd: opened.needMicroUsd };
        case 'paused':
          return { kind: 'paused' };
        case 'cancelled':
          throw new StewardError('CANCELLED', 'The run is being cancelled.');
        case 'closed':
          throw new StewardError('WRONG_STATE', `The run is ${opened.status}.`);
        case 'gave_up':
          throw new StewardError('MODEL_REQUEST_REFUSED', `The model call failed ${opened.attempts} times.`);
        case 'stored':
          return judge(deps, opened.runGrant, input, opened.turn, signal);
        case 'reserved': {
          const stored = await callModel(deps, ref, input, opened, attemptId, attempt, signal);
          return judge(deps, opened.runGrant, input, stored, signal);
        }
      }
    });
}

/** Opens the turn; where its user is throttled, waits for that, but no longer than LONGEST_THROTTLE_MS in all. */
async function open(deps: ThinkDeps, ref: RunRef, turn: number, attempt: number, signal: AbortSignal) {
  const end = Date.now() + LONGEST_THROTTLE_MS;
  for (;;) {
    const attemptId = randomUUID();
    const deadlineAt = new Date(Date.now() + ATTEMPT_DEAD_AFTER_MS);
    const opened = await deps.store.openTurn(
      ref,
      turn,
      { id: attemptId, number: attempt, deadlineAt, ...(Date.now() < end ? {} : { unthrottled: true }) },
      (request) => deps.model.estimateInputTokens(request),
      deps.chooser,
    );
    if (opened.kind !== 'throttled') return { attemptId, opened };
    await pause(Math.min(opened.until, end) - Date.now(), signal);
  }
}

/** Waits, or until it is to stop; what opens the turn next then sees why. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw new StewardError('CANCELLED', 'The run is being stopped.');
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal.addEventListener('abort', done);
  });
}

/** Has the model sum up what no longer fits. Where it cannot, the turn does without; what may pass is tried again. */
async function summarise(
  deps: ThinkDeps,
  ref: RunRef,
  input: ThinkInput,
  opened: Extract<OpenedTurn, { kind: 'summarise' }>,
  attemptId: string,
  signal: AbortSignal,
): Promise<void> {
  let answer: ModelAnswer | null = null;
  try {
    answer = await deps.model.complete(opened.request, () => undefined, signal);
  } catch (error) {
    if (!isStewardError(error) || !(error.code.startsWith('MODEL_') || error.code === 'CANCELLED')) throw error;
    const { code, message } = error;
    const retrying = code !== 'CANCELLED' || goesOn(signal);
    await deps.store.endAttempt(ref, input.turn, attemptId, endOf(error), { code, message, retrying });
    if (code === 'CANCELLED' || isRetryable(code)) throw onward(deps, opened, error);
  }
  await storing(deps, input, () => deps.store.storeSummary(ref, input.turn, attemptId, opened.cut, answer));
}

async function callModel(
  deps: ThinkDeps,
  ref: RunRef,
  input: ThinkInput,
  opened: Extract<OpenedTurn, { kind: 'reserved' }>,
  attemptId: string,
  attempt: number,
  signal: AbortSignal,
): Promise<StoredTurn> {
  const writer = new TextWriter((start, text) => deps.store.addText(ref, input.turn, attempt, start, text));
  try {
    const answer = await deps.model.complete(opened.request, (text) => writer.add(text), signal);
    await writer.stop();
    return await storing(deps, input, () => deps.store.storeAnswer(ref, input.turn, attemptId, answer, input.activeMs));
  } catch (error) {
    await writer.stop();
    // What the store could not write stays reserved: the sweeper charges it, and the next attempt finds what is stored.
    if (!isStewardError(error) || !(error.code.startsWith('MODEL_') || error.code === 'CANCELLED')) throw error;
    await deps.store.endAttempt(ref, input.turn, attemptId, endOf(error), {
      code: error.code,
      message: error.message,
      retrying: isRetryable(error.code) || goesOn(signal),
    });
    throw onward(deps, opened, error);
  }
}

/**
 * The failure as Temporal is told it: the wait that one provider asks for is not due where the next to be asked is
 * another.
 */
function onward(
  deps: ThinkDeps,
  { route, request }: { readonly route: ModelRoute; readonly request: ModelRequest },
  error: StewardError,
): StewardError {
  if (deps.chooser === undefined || !MODEL_OUTAGES.includes(error.code)) return error;
  const failed = request.model === route.primary ? 'primary' : 'fallback';
  const errors = { ...route.errors, [failed]: route.errors[failed] + 1 };
  if (deps.chooser.choose({ ...route, errors }).model === request.model) return error;
  const details = { ...error.details, retryAfterMs: SWITCH_AFTER_MS };
  return new StewardError(error.code, error.message, { details, cause: error.cause });
}

/** Whether another attempt follows one that was stopped. */
function goesOn(signal: AbortSignal): boolean {
  const what = whatStops(signal);
  return what === 'attempt' || what === 'work';
}

/** Stores what was paid for. A database that restarts must not cost a second model call. */
async function storing<T>(deps: ThinkDeps, input: ThinkInput, store: () => Promise<T>): Promise<T> {
  for (let wait = STORE_FIRST_WAIT_MS; ; wait *= 2) {
    try {
      return await store();
    } catch (error) {
      const again = isStewardError(error) && error.code === 'UNAVAILABLE' && wait <= STORE_LAST_WAIT_MS;
      if (!again) throw error;
      deps.log.warn('could not store an answer yet', { run: input.run, turn: input.turn, waitMs: wait });
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** Counted tokens are paid for; a request that was sent and never answered for is charged at its reservation. */
function endOf(error: StewardError): AttemptEnd {
  const usage = error.details.usage as Usage | undefined;
  if (usage) return { kind: 'usage', usage };
  return error.details.unobserved === true ? { kind: 'reservation' } : { kind: 'nothing' };
}

async function judge(
  deps: ThinkDeps,
  runGrant: string,
  input: ThinkInput,
  turn: StoredTurn,
  signal: AbortSignal,
): Promise<ThinkResult> {
  const counted = {
    tokens: turn.tokens,
    costMicroUsd: turn.costMicroUsd,
    ...(turn.summaries > 0 ? { summaries: turn.summaries } : {}),
  };
  if (turn.overage) {
    return { kind: 'stop', reason: 'budget.overage', message: 'was billed more than it had reserved', ...counted };
  }
  if (turn.runaway) {
    return { kind: 'stop', reason: 'budget.runaway', message: STOP_TEXT['budget.runaway'], ...counted };
  }
  if (turn.stop === 'refusal') {
    return { kind: 'stop', reason: 'model.refusal', message: 'ended because the model declined to go on', ...counted };
  }
  if (turn.proposals.length === 0) {
    if (turn.stop === 'length') {
      return { kind: 'stop', reason: 'model.length', message: 'ran out of output tokens within an answer', ...counted };
    }
    return { kind: 'final', ...counted };
  }
  if (turn.proposals.length > MOST_PROPOSALS) {
    const message = `proposed ${turn.proposals.length} tool calls in one turn; ${MOST_PROPOSALS} are looked at`;
    return { kind: 'stop', reason: 'limit.tool_calls', message, ...counted };
  }
  const epoch = deps.push.epoch();
  const judged = await deps.guard.judge(runGrant, input.turn, turn.proposals, signal).catch((error: unknown) => {
    // A kill switch pauses the run: the turn is judged when it goes on.
    if (isStewardError(error) && error.code === 'KILLED' && error.details.status === 'paused') return null;
    throw error;
  });
  if (judged === null) return { kind: 'paused' };
  const { calls, begun } = judged;
  deps.begun.put(input.run, runGrant, begun, epoch);
  deps.wake(input.run);
  return { kind: 'calls', calls, ...counted };
}
