import { condition } from '@temporalio/workflow';
import type { Board } from './board.ts';

/** The run was paused and nobody resumed it in time. */
export class PauseExpired extends Error {}

const FIRST_LOOK_MS = 1_000;
const LAST_LOOK_MS = 10 * 60_000;

/** Whether a person has paused the run. */
export class Pause {
  readonly #board: Board;
  readonly #longestMs: number;
  #paused: boolean;
  #told = 0;

  constructor(board: Board, longestMs: number, paused: boolean) {
    this.#board = board;
    this.#longestMs = longestMs;
    this.#paused = paused;
  }

  get paused(): boolean {
    return this.#paused;
  }

  set(paused: boolean): void {
    this.#paused = paused;
    this.#told += 1;
  }

  /** Returns when the run is not paused. Throws PauseExpired. */
  async over(): Promise<void> {
    if (!this.#paused) return;
    await this.#board.whilePaused(async () => {
      if (!(await condition(() => !this.#paused, this.#longestMs))) throw new PauseExpired();
    });
  }

  /**
   * Runs `work` whenever the run is not paused, until it says something else than that the run is. It may know sooner
   * than this workflow, since a pause is stored before it is signalled; then it is asked again once something is heard,
   * or ever more slowly. Throws PauseExpired.
   */
  async around<T>(work: () => Promise<T>, saysPaused: (result: T) => boolean): Promise<T> {
    let since: number | null = null;
    let wait = FIRST_LOOK_MS;
    for (;;) {
      await this.over();
      const told = this.#told;
      const result = await work();
      if (!saysPaused(result)) return result;
      since ??= Date.now();
      if (await condition(() => this.#told > told, wait)) {
        since = null;
        wait = FIRST_LOOK_MS;
      } else if (Date.now() - since >= this.#longestMs) {
        throw new PauseExpired();
      } else {
        wait = Math.min(2 * wait, LAST_LOOK_MS);
      }
    }
  }
}
