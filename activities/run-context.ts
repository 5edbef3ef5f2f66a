import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { isRetryable, isStewardError, toStewardError } from '#domain/errors.ts';

const HEARTBEAT_MS = 1_000;
/** How long an activity that was stopped by the push waits for Temporal's own cancellation to arrive. */
const CANCEL_ARRIVES_MS = 10_000;

/** Stops activities of a run at once, ahead of Temporal's cancellation, which travels with heartbeats. */
export interface StopPush {
  /** Calls `stop` once the run is told to stop; returns how to unsubscribe. */
  onStop(run: string, stop: () => void): () => void;
}

/** Writes a line to the worker's log. */
export interface ActivityLog {
  warn(message: string, facts: Readonly<Record<string, unknown>>): void;
}

/**
 * Runs an activity: heartbeats on a timer from its first line, one signal for Temporal's cancellation and the push, and
 * errors as Temporal failures. An activity that was stopped ends as cancelled only after Temporal has cancelled it, as
 * its server demands.
 */
export async function runActivity<T>(
  run: string,
  push: StopPush,
  log: ActivityLog,
  work: (signal: AbortSignal, attempt: number) => Promise<T>,
): Promise<T> {
  const context = Context.current();
  const pushed = new AbortController();
  const forget = push.onStop(run, () => pushed.abort(new Error('stopped')));
  context.heartbeat();
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
  const signal = AbortSignal.any([context.cancellationSignal, pushed.signal]);
  try {
    return await work(signal, context.info.attempt);
  } catch (error) {
    if (signal.aborted && isStopped(error)) {
      await cancellationArrives(context);
      throw new CancelledFailure('The run was told to stop.');
    }
    throw toFailure(error, log);
  } finally {
    clearInterval(timer);
    forget();
  }
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
export function toFailure(error: unknown, log: ActivityLog): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  const known = toStewardError(error);
  if (known.cause !== undefined) log.warn(known.message, { code: known.code, cause: String(known.cause) });
  const after = known.details['retryAfterMs'];
  return ApplicationFailure.create({
    message: known.message,
    type: known.code,
    nonRetryable: !isRetryable(known.code),
    ...(typeof after === 'number' ? { nextRetryDelay: after } : {}),
  });
}
