import { ApplicationFailure, CancellationScope, sleep } from '@temporalio/workflow';
import type { JudgedCall } from '#domain/ports/run-activities.ts';
import { waitsFor } from '#domain/run-state.ts';
import type { RunInput } from '#domain/run-workflow.ts';
import type { ActiveTime } from './active-time.ts';
import { act, confirmDecision, withSummary } from './activities.ts';
import type { Board } from './board.ts';
import type { Inbox } from './inbox.ts';
import type { Pause } from './pause.ts';

/** The guard's clock decides what has expired. Where it is behind ours it is asked again, so often at most. */
const LATE_LOOKS = 60;

export interface TurnCallsDeps {
  readonly input: RunInput;
  readonly inbox: Inbox;
  readonly pause: Pause;
  readonly active: ActiveTime;
  readonly board: Board;
}

/** Carries out the calls of one turn, each on its own path. */
export class TurnCalls {
  readonly #deps: TurnCallsDeps;

  constructor(deps: TurnCallsDeps) {
    this.#deps = deps;
  }

  /**
   * Independent calls side by side, conflicting ones in order; people are asked about all of them at once. Returns when
   * every call has its answer. After a failure nothing more is started, and it throws once all that was is over.
   */
  async all(calls: readonly JudgedCall[]): Promise<void> {
    const order = waitsFor(calls);
    const done = new Map<string, Promise<void>>();
    await CancellationScope.cancellable(async () => {
      for (const call of calls) {
        const earlier = (order.get(call.id) ?? []).map((id) => done.get(id));
        done.set(call.id, this.#one(call, Promise.all(earlier)));
      }
      const scope = CancellationScope.current();
      try {
        await Promise.all(done.values());
      } catch (error) {
        scope.cancel();
        await CancellationScope.nonCancellable(() => Promise.allSettled(done.values()));
        throw error;
      }
    });
  }

  async #one(call: JudgedCall, earlier: Promise<unknown>): Promise<void> {
    const { input, pause, active, board } = this.#deps;
    const approved = call.verdict === 'ask' ? this.#approved(call) : true;
    const [, mayRun] = await Promise.all([earlier, approved]);
    if (!mayRun) return;
    const { tenant, run } = input;
    const args = { tenant, run, call: call.id, digest: call.digest ?? '' };
    await pause.around(
      () =>
        board.whileRunning(call, () =>
          active.during(() => act.executeWithOptions(withSummary('act', `${call.tool} (${call.id})`), [args])),
        ),
      (result) => result.outcome === 'paused',
    );
  }

  /** Waits for the answer to one call, on its own condition, until its approval has expired. */
  async #approved(call: JudgedCall): Promise<boolean> {
    const { input, inbox, board } = this.#deps;
    const { tenant, run } = input;
    const approval = call.approval ?? '';
    const until = call.expiresAt ?? 0;
    inbox.ask(approval, call.digest ?? '');
    return board.whileWaiting(call, async () => {
      // Asked before anything came in: the answer may have been given before this run was listening.
      let message: Awaited<ReturnType<Inbox['nextDecision']>> = null;
      for (let late = 0; ; ) {
        const question = { tenant, run, call: call.id, approval, ...message };
        const { state } = await confirmDecision.executeWithOptions(withSummary('act', `${call.tool} (${call.id})`), [
          question,
        ]);
        if (state !== 'open') {
          inbox.answer(approval, state);
          return state === 'approved';
        }
        if (message) inbox.sawNothing(approval);
        if (Date.now() >= until) {
          late += 1;
          if (late > LATE_LOOKS) {
            throw ApplicationFailure.nonRetryable(`Approval ${approval} is past its time and still open.`, 'INTERNAL');
          }
          await sleep(Math.min(1_000 * 2 ** (late - 1), 60_000));
        }
        message = await inbox.nextDecision(approval, until);
      }
    });
  }
}
