import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { isRetryable, isStewardError, toStewardError } from '#domain/errors.ts';

const HEARTBEAT_MS = 1_000;
/** How long an activity that was stopped by the push waits for Temporal's own cancellation to arrive. */
const CANCEL_ARRIVES_MS = 10_000;
/** An attempt that a kill switch has stopped is followed by one that finds the run paused, or being cancelled. */
const STOPPED_WAIT_MS = 500;
/** A provider that fails is left alone for 0.5, 1, 2 … 30 s, where it does not say for how long. */
const PROVIDER_FIRST_WAIT_MS = 500;
const PROVIDER_LONGEST_WAIT_MS = 30_000;

/** `run`: the run is to be cancelled. `work`: what is in flight is, by a kill switch; the run may go on without it. */
export type StopWork = 'run' | 'work';

/** What an activity is at. */
export interface UnderWay {
  readonly tenant: string;
  readonly run: string;
  /** Absent where it is no tool call. */
  readonly call?: string;
}

/** Stops activities at once, ahead of Temporal's cancellation, which travels with heartbeats. */
export interface StopPush {
  /** Calls `stop` once this work is told to stop; returns how to unsubscribe. */
  onStop(work: UnderWay, stop: (what: StopWork) => void): () => void;
  /** Grows with everything that was heard, or may have been missed, of kill switches. */
  epoch(): number;
}

/** Of work that nothing stops. */
export const NO_PUSH: StopPush = { onStop: () => () => undefined, epoch: () => 0 };

/** Writes a line to the worker's log. */
export interface ActivityLog {
  warn(message: string, facts: Readonly<Record<string, unknown>>): void;
}

/**
 * What an activity's signal is aborted with. `run`: the run is to stop. `work`: what is in flight is to stop, and nothing
 * else. `attempt`: only this attempt is over, because its worker goes or Temporal has given it to another one, which will
 * go on from what is stored.
 */
class Stop extends Error {
  readonly what: StopWork | 'attempt';

  constructor(what: StopWork | 'attempt') {
    super(what === 'attempt' ? 'This attempt is over.' : 'The run was told to stop.');
    this.what = what;
  }
}

/** What the signal of a running activity says is to stop; null while nothing is. */
export function whatStops(signal: AbortSignal): StopWork | 'attempt' | null {
  if (!signal.aborted) return null;
  return signal.reason instanceof Stop ? signal.reason.what : 'run';
}

/**
 * Runs an activity: heartbeats on a timer, the first one a second after it began, since Temporal counts from there; one
 * signal for Temporal's cancellation and the push; errors as Temporal failures. An activity that was stopped, by either or by what it read of the run, ends as cancelled
 * once Temporal has cancelled it, as its server demands, or has not done so for ten seconds.
 */
export async function runActivity<T>(
  of: UnderWay,
  push: StopPush,
  log: ActivityLog,
  work: (signal: AbortSignal, attempt: number) => Promise<T>,
): Promise<T> {
  const context = Context.current();
  const stop = new AbortController();
  const forget = push.onStop(of, (what) => stop.abort(new Stop(what)));
  const onCancel = (): void => stop.abort(new Stop(isRunCancelled(context) ? 'run' : 'attempt'));
  if (context.cancellationSignal.aborted) onCancel();
  else context.cancellationSignal.addEventListener('abort', onCancel, { once: true });
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
  try {
    return await work(stop.signal, context.info.attempt);
  } catch (error) {
    // The run goes on where a switch let it: what stands in the database says how, to the next attempt.
    if (isStopped(error) && whatStops(stop.signal) === 'work') {
      throw ApplicationFailure.create({
        message: 'A kill switch stopped it.',
        type: 'KILLED',
        nextRetryDelay: STOPPED_WAIT_MS,
      });
    }
    if (isStopped(error)) {
      await cancellationArrives(context);
      throw new CancelledFailure('The run was told to stop.');
    }
    throw toFailure(error, log, context.info.attempt);
  } finally {
    clearInterval(timer);
    context.cancellationSignal.removeEventListener('abort', onCancel);
    forget();
  }
}

/** Other reasons are that the worker shuts down, and that the attempt has timed out or is not known any more. */
function isRunCancelled(context: Context): boolean {
  const reason: unknown = context.cancellationSignal.reason;
  return reason instanceof Error && reason.message === 'CANCELLED';
}

function isStopped(error: unknown): boolean {
  return error instanceof CancelledFailure || (isStewardError(error) && error.code === 'CANCELLED');
}

async function cancellationArrives(context: Context): Promise<void> {
  if (context.cancellationSignal.aborted) return;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CANCEL_ARRIVES_MS);
  });
  await Promise.race([late, context.cancelled.catch(() => undefined)]);
  clearTimeout(timer);
}

/** The second total mapping of error codes: to a Temporal failure, retryable or not, after how long. */
export function toFailure(error: unknown, log: ActivityLog, attempt: number): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  const known = toStewardError(error);
  if (known.cause !== undefined) log.warn('an activity failed', { code: known.code, err: known });
  const after = known.details.retryAfterMs ?? (known.code.startsWith('MODEL_') ? providerWaitMs(attempt) : undefined);
  return ApplicationFailure.create({
    message: known.message,
    type: known.code,
    nonRetryable: !isRetryable(known.code),
    ...(typeof after === 'number' ? { nextRetryDelay: after } : {}),
  });
}

function providerWaitMs(attempt: number): number {
  return Math.min(PROVIDER_LONGEST_WAIT_MS, PROVIDER_FIRST_WAIT_MS * 2 ** Math.min(attempt - 1, 10));
}
