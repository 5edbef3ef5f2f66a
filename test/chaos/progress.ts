import { setTimeout as sleep } from 'node:timers/promises';
import type { TestStack } from '#test/support/stack.ts';

const LOOK_MS = 100;
/** What waits for progress goes on without it once there was none for so long. */
const STALLED_MS = 20_000;
/** The same where only one run is left, which may be waiting for them. */
const LAST_STALLED_MS = 2_000;

/** How far the runs are, looked at ten times a second. */
export class Progress {
  /** Runs that there are to be. */
  readonly runs: number;
  /** Calls with an effect that the platform has reported as done. */
  done = 0;
  closed = 0;
  ids: readonly string[] = [];
  /** True once every planned kill was made, or given up. */
  struck = false;
  readonly #s: TestStack;
  readonly #over: AbortSignal;
  #moved = Date.now();

  constructor(s: TestStack, runs: number, over: AbortSignal) {
    this.#s = s;
    this.runs = runs;
    this.#over = over;
  }

  /** True where all runs but one have closed. */
  get last(): boolean {
    return this.closed >= this.runs - 1;
  }

  /** True while the last run must not be let go on to its end: without it, nothing would be left to be killed in. */
  get held(): boolean {
    return this.last && !this.struck;
  }

  /** Looks until all runs are closed; false where everything was over before. */
  async untilClosed(): Promise<boolean> {
    while (!this.#over.aborted) {
      // The database is one of those that are killed.
      await this.#look().catch(() => undefined);
      if (this.closed >= this.runs) return true;
      await sleep(LOOK_MS);
    }
    return false;
  }

  /** Waits until so many effects are done, or nothing moves any more, or all is over. True where there is still work. */
  async reaches(effects: number): Promise<boolean> {
    while (!this.#over.aborted && this.closed < this.runs) {
      if (this.done >= effects || Date.now() - this.#moved > (this.last ? LAST_STALLED_MS : STALLED_MS)) return true;
      await sleep(LOOK_MS / 2);
    }
    return false;
  }

  async #look(): Promise<void> {
    const rows = await this.#s.query<{ id: string; closed: boolean; done: number }>(
      `select r.id, r.closed_at is not null as closed,
         (select count(*) from steward.agent_run_tool_invocations i
          where i.run_id = r.id and i.state = 'done' and i.has_effect)::int as done
       from steward.agent_runs r`,
    );
    const done = rows.reduce((sum, row) => sum + row.done, 0);
    if (done !== this.done) this.#moved = Date.now();
    this.done = done;
    this.closed = rows.filter((row) => row.closed).length;
    this.ids = rows.map((row) => row.id);
  }
}
