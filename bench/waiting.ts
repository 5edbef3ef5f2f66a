import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowFailedError } from '@temporalio/client';
import type { Temporal } from '#platform/temporal/client.ts';

const POLL_MS = 20;

/** Waits for a workflow's end, whichever it is. Throws after `ms`, and on the signal. */
export async function untilClosed(temporal: Temporal, id: string, ms: number, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  try {
    await temporal.client.withAbortSignal(limit, () => temporal.client.workflow.getHandle(id).result());
  } catch (error) {
    signal.throwIfAborted();
    if (limit.aborted) throw new Error(`${id} did not end within ${ms / 1000} s.`, { cause: error });
    if (!(error instanceof WorkflowFailedError)) throw error;
  }
}

/** Looks again and again until there is something. Throws after `ms`, naming what it waited for. */
export async function until<T>(
  what: string,
  ms: number,
  signal: AbortSignal,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    signal.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() >= deadline) throw new Error(`${what} did not come within ${ms / 1000} s.`);
    await delay(POLL_MS, undefined, { signal });
  }
}

/** What a promise says, or an error after `ms`, and on the signal. */
export async function within<T>(what: string, ms: number, signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms / 1000} s.`)), ms);
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
