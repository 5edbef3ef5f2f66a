import type { BegunCall } from '#domain/ports/services.ts';

/** Later than so long after it was begun a call goes to the guard again: the world may have moved. */
const FRESH_MS = 2_000;

/**
 * Calls that the guard has begun as it judged them, from the `think` that heard of it to the `act` that carries them
 * out, within one process. Only a hint: a call that is not here is authorised, and what reached its catalog is looked up
 * first, since it counts as started.
 */
export class BegunCalls {
  /** Oldest first. */
  readonly #calls = new Map<
    string,
    { readonly call: BegunCall; readonly runGrant: string; readonly at: number; readonly epoch: number }
  >();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** `epoch` is what was heard of kill switches before the guard was asked. */
  put(run: string, runGrant: string, calls: readonly BegunCall[], epoch = 0): void {
    const at = this.#now();
    for (const [name, begun] of this.#calls) {
      if (at - begun.at <= FRESH_MS) break;
      this.#calls.delete(name);
    }
    for (const call of calls) this.#calls.set(nameOf(run, call.callId), { call, runGrant, at, epoch });
  }

  /** Once only: nothing is carried out twice with one leave. None where something was heard of kill switches since. */
  take(
    run: string,
    callId: string,
    digest: string,
    epoch = 0,
  ): (BegunCall & { readonly runGrant: string }) | undefined {
    const name = nameOf(run, callId);
    const begun = this.#calls.get(name);
    this.#calls.delete(name);
    if (!begun || begun.epoch !== epoch || begun.call.digest !== digest || this.#now() - begun.at > FRESH_MS)
      return undefined;
    return { ...begun.call, runGrant: begun.runGrant };
  }
}

function nameOf(run: string, callId: string): string {
  return `${run}/${callId}`;
}
