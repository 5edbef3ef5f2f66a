import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll } from 'cockatiel';
import { isStewardError, MODEL_OUTAGES } from '#domain/errors.ts';

/** Outages in a row, over all runs of this process, after which a provider counts as out. */
const OUTAGES_IN_A_ROW = 5;

/**
 * Whether a provider answers, as this process has seen it: a circuit breaker that is told how calls ended instead of
 * making them, since who waits for another run's test call would wait for minutes. It opens after five outages in a row;
 * after `halfOpenAfterMs` one call may try, and its end closes it or opens it again. A provider that itself asks to be
 * left alone for longer than that is out for so long.
 */
export class ProviderHealth {
  readonly #halfOpenAfterMs: number;
  readonly #now: () => number;
  readonly #breaker;
  #openedAt = 0;
  #leftAloneUntil = 0;
  /** Calls that were begun while it was out. */
  #trying = 0;

  constructor(halfOpenAfterMs: number, now: () => number = Date.now) {
    this.#halfOpenAfterMs = halfOpenAfterMs;
    this.#now = now;
    this.#breaker = circuitBreaker(handleAll, {
      // Whether it may be tried is said here; the policy is told of the outcome and needs no time of its own.
      halfOpenAfter: 0,
      breaker: new ConsecutiveBreaker(OUTAGES_IN_A_ROW),
    });
    this.#breaker.onBreak(() => {
      this.#openedAt = this.#now();
    });
  }

  /** False while it is out, and while one call tries whether it still is. */
  get available(): boolean {
    if (this.#now() < this.#leftAloneUntil) return false;
    if (this.#breaker.state === CircuitState.Closed) return true;
    return this.#trying === 0 && this.#now() - this.#openedAt >= this.#halfOpenAfterMs;
  }

  /** Runs one call and learns from how it ends. Refusals and cancelled calls say nothing about the provider. */
  async watch<T>(call: () => Promise<T>): Promise<T> {
    const trial = this.#breaker.state === CircuitState.Closed ? 0 : 1;
    this.#trying += trial;
    try {
      const result = await call();
      this.#leftAloneUntil = 0;
      await this.#breaker.execute(() => undefined);
      return result;
    } catch (error) {
      if (isOutage(error)) {
        const after = error.details.retryAfterMs;
        if (typeof after === 'number' && after > this.#halfOpenAfterMs) this.#leftAloneUntil = this.#now() + after;
        await this.#breaker.execute(() => Promise.reject(error)).catch(() => undefined);
      }
      throw error;
    } finally {
      this.#trying -= trial;
    }
  }
}

/** A bad answer is the model's, not its provider's: it counts for the turn and not here. */
function isOutage(error: unknown): error is { readonly details: Readonly<Record<string, unknown>> } {
  return isStewardError(error) && MODEL_OUTAGES.includes(error.code) && error.code !== 'MODEL_BAD_ANSWER';
}
