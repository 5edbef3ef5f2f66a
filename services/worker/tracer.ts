import type { RunRef } from '#domain/ports/run-store.ts';
import type { TraceStore } from '#platform/database/traces.ts';
import { readTraceParent, traceIdOf } from '#platform/telemetry/trace.ts';
import type { Tracing } from '#platform/telemetry/tracing.ts';

export interface TracerDeps {
  readonly store: TraceStore;
  readonly tracing: Pick<Tracing, 'samples' | 'exportRun'>;
  readonly log: { warn(fields: object, message: string): void };
}

/** Tells of runs, behind them: nothing that a run does waits for it. */
export interface Tracer {
  /** Something of the run was recorded: its finished turns are told within a second or so. */
  note(ref: RunRef): void;
  /** Called before the end of a run is written, so that its spans are told even if this process dies right after. */
  expect(ref: RunRef): Promise<void>;
  /** Tells of closed runs that were left behind; gives up those that closed more than a day ago. Returns how many. */
  sweep(tenant: string): Promise<number>;
  /** Tells of what was noted, for three seconds at most. */
  close(): Promise<void>;
}

const EVERY_MS = 1_000;
const AT_ONCE = 4;
/** Runs noted at once; of further ones, those that close are found by the sweep. */
const MOST_NOTED = 10_000;
/** After the collector has not answered: 5 s, 10 s … 60 s. */
const FIRST_WAIT_MS = 5_000;
const LONGEST_WAIT_MS = 60_000;
const CLOSE_MS = 3_000;
const OVERDUE_MS = 15_000;
const GIVEN_UP_MS = 86_400_000;
const SWEPT = 200;

/** Starts telling. */
export function createTracer(deps: TracerDeps): Tracer {
  return new RunTracer(deps);
}

class RunTracer implements Tracer {
  readonly #deps: TracerDeps;
  readonly #noted = new Map<string, RunRef>();
  readonly #timer: NodeJS.Timeout;
  #pass: Promise<void> | null = null;
  #waitMs = 0;
  #notBefore = 0;
  #closing = false;

  constructor(deps: TracerDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => void this.#work(), EVERY_MS);
    this.#timer.unref();
  }

  note(ref: RunRef): void {
    if (this.#noted.size < MOST_NOTED) this.#noted.set(ref.run, ref);
  }

  async expect(ref: RunRef): Promise<void> {
    // Whether a run closes does not hang on its spans.
    await this.#deps.store.expect(ref).catch((err: unknown) => {
      this.#deps.log.warn({ ...ref, err }, 'the spans of this run may not be told');
    });
  }

  async sweep(tenant: string): Promise<number> {
    const left = await this.#deps.store.overdue(tenant, new Date(Date.now() - OVERDUE_MS), SWEPT);
    for (const { run, closedAt } of left) {
      const ref = { tenant, run };
      if (Date.now() - closedAt.getTime() < GIVEN_UP_MS) this.note(ref);
      else await this.#giveUp(ref);
    }
    return left.length;
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#timer);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([(this.#pass ?? Promise.resolve()).then(() => this.#work()), late]);
    clearTimeout(timer);
  }

  #work(): Promise<void> {
    if (this.#noted.size === 0 || Date.now() < this.#notBefore) return Promise.resolve();
    this.#pass ??= this.#tellNoted().finally(() => {
      this.#pass = null;
    });
    return this.#pass;
  }

  async #tellNoted(): Promise<void> {
    const refs = [...this.#noted.values()];
    this.#noted.clear();
    const tellInTurn = async (): Promise<void> => {
      for (let ref = refs.shift(); ref !== undefined; ref = refs.shift()) {
        if (Date.now() < this.#notBefore) this.note(ref);
        else await this.#tell(ref);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, tellInTurn));
  }

  async #tell(ref: RunRef): Promise<void> {
    const { store, tracing, log } = this.#deps;
    try {
      for (let untold = await store.take(ref); untold !== null; untold = await store.take(ref)) {
        const parent = readTraceParent(untold.facts.run.traceParent);
        const sampled = tracing.samples(parent?.trace ?? traceIdOf(ref.run), parent);
        if (sampled && !(await tracing.exportRun(untold.facts))) return await this.#failed(ref);
        this.#waitMs = 0;
        if (!(await store.told(ref, untold, untold.last)) || untold.last) return;
      }
    } catch (err) {
      log.warn({ ...ref, err }, 'the spans of this run are not told yet');
      await this.#failed(ref);
    }
  }

  /** What was taken is another's to take after a while, this worker's too. */
  async #failed(ref: RunRef): Promise<void> {
    this.#waitMs = Math.min(LONGEST_WAIT_MS, Math.max(FIRST_WAIT_MS, this.#waitMs * 2));
    this.#notBefore = Date.now() + this.#waitMs;
    if (!this.#closing) this.note(ref);
    await this.#deps.store.release(ref, 0).catch(() => undefined);
  }

  async #giveUp(ref: RunRef): Promise<void> {
    const { store, log } = this.#deps;
    const untold = await store.take(ref);
    if (untold === null) return;
    log.warn({ ...ref, turn: untold.from }, 'the spans of this run were not told: the collector was away for a day');
    await store.told(ref, untold, true);
  }
}
