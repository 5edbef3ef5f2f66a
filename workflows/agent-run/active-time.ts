import { condition, sleep } from '@temporalio/workflow';

/**
 * Counts the time a run works: while at least one activity of its turns is in flight. Waiting for people, budget or a
 * resume does not count. Uses the workflow's own clock, so it replays.
 */
export class ActiveTime {
  #before: number;
  #since = 0;
  #working = 0;

  constructor(carriedMs: number) {
    this.#before = carriedMs;
  }

  get ms(): number {
    return this.#before + (this.#working > 0 ? Date.now() - this.#since : 0);
  }

  /** Counts while `work` is under way. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    if (this.#working === 0) this.#since = Date.now();
    this.#working += 1;
    try {
      return await work();
    } finally {
      this.#working -= 1;
      if (this.#working === 0) this.#before += Date.now() - this.#since;
    }
  }

  /**
   * Returns once `limitMs` of active time are used. One timer in the history for as long as the run is within it: a
   * timer that has fired is followed by another only while the run works, so that waiting sets none however little is
   * left.
   */
  async exhausted(limitMs: number): Promise<void> {
    for (;;) {
      const left = limitMs - this.ms;
      if (left <= 0) return;
      await sleep(left);
      if (this.ms < limitMs) await condition(() => this.#working > 0);
    }
  }
}
