/** How a request ended: `closed` is the client's doing, `broken` a fault's, `refused` an error of the API's kind. */
export type Outcome = 'open' | 'answered' | 'refused' | 'broken' | 'closed';

/** One request as the server saw it. Times are milliseconds since the epoch. */
export interface SeenRequest {
  readonly number: number;
  readonly receivedAt: number;
  userId: string | null;
  script: string | null;
  turn: number | null;
  /** Which try of this very request it is, from 1; counted for answers with a fault. */
  attempt: number;
  outcome: Outcome;
  status: number | null;
  error: string | null;
  endedAt: number | null;
  /** The parsed body; forgotten for all but the last requests. */
  body: unknown;
  /** Settles when the request has ended. */
  readonly ended: Promise<SeenRequest>;
}

/** Requests remembered, and those of them with their bodies. */
const MOST_REQUESTS = 2_000;
const MOST_BODIES = 100;

/** The last requests, oldest first. */
export class RequestLog {
  readonly entries: SeenRequest[] = [];
  #count = 0;

  /** Notes a request; call `end` exactly when it is over. */
  begin(now: number): { readonly seen: SeenRequest; readonly end: (outcome: Outcome, now: number) => void } {
    const { promise, resolve } = Promise.withResolvers<SeenRequest>();
    const seen: SeenRequest = {
      number: this.#count,
      receivedAt: now,
      userId: null,
      script: null,
      turn: null,
      attempt: 1,
      outcome: 'open',
      status: null,
      error: null,
      endedAt: null,
      body: null,
      ended: promise,
    };
    this.#count += 1;
    this.entries.push(seen);
    if (this.entries.length > MOST_REQUESTS) this.entries.shift();
    const old = this.entries.at(-1 - MOST_BODIES);
    if (old !== undefined) old.body = null;
    const end = (outcome: Outcome, at: number): void => {
      if (seen.endedAt !== null) return;
      seen.outcome = outcome;
      seen.endedAt = at;
      resolve(seen);
    };
    return { seen, end };
  }
}

/** How often each request was seen, for faults that stop after some tries. Bounded: the oldest are forgotten. */
export class Attempts {
  readonly #counts = new Map<string, number>();

  /** Counts one more try of the request with this hash and returns its number, from 1. */
  next(hash: string): number {
    const count = (this.#counts.get(hash) ?? 0) + 1;
    this.#counts.delete(hash);
    this.#counts.set(hash, count);
    const oldest = this.#counts.keys().next().value;
    if (this.#counts.size > MOST_ATTEMPTS && oldest !== undefined) this.#counts.delete(oldest);
    return count;
  }
}

const MOST_ATTEMPTS = 10_000;
