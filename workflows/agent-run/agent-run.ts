import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  CancelledFailure,
  condition,
  continueAsNew,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
import { afterMidnight, nextMonth } from '#domain/ids.ts';
import type { CloseRunInput } from '#domain/ports/run-activities.ts';
import { type BudgetLevel, type ClosedStatus, STOP_TEXT, type StopReason } from '#domain/run.ts';
import { afterThink, fromCarry, nextTurn, type RunState, toCarry } from '#domain/run-state.ts';
import type { RunInput, RunOutput } from '#domain/run-workflow.ts';
import { ActiveTime } from './active-time.ts';
import { BOUNDED_CLOSING, closeRun, think, withSummary } from './activities.ts';
import { Board } from './board.ts';
import { Inbox } from './inbox.ts';
import { listen } from './messages.ts';
import { Pause, PauseExpired } from './pause.ts';
import { TurnCalls } from './turn-calls.ts';

/** How the loop ended. */
interface End {
  readonly status: ClosedStatus;
  readonly reason: StopReason | null;
  readonly message?: string;
}

/**
 * One run of one agent: turns of one model call and the calls it proposes, until the model is done, a limit is reached,
 * or a person stops it. Carries ids and counters only.
 */
export async function agentRun(input: RunInput): Promise<RunOutput> {
  const run = new AgentRun(input);
  for (;;) {
    const output = await run.close(await run.untilEnd());
    if (output) return output;
  }
}

class AgentRun {
  readonly #input: RunInput;
  #state: RunState;
  readonly #active: ActiveTime;
  readonly #inbox: Inbox;
  readonly #board: Board;
  readonly #pause: Pause;
  readonly #calls: TurnCalls;
  readonly #turnsBefore: number;
  /** Until when this turn waits for budget, however many raises turn out to be too small. */
  #budgetUntil: number | null;
  /** True where the budget is looked at because somebody said that it was raised. */
  #raiseCame = false;
  #closing = false;

  constructor(input: RunInput) {
    const { carry, waits } = input;
    this.#input = input;
    this.#state = fromCarry(carry);
    this.#turnsBefore = this.#state.turn;
    this.#active = new ActiveTime(carry?.activeMs ?? 0);
    this.#inbox = new Inbox(carry?.badSignals ?? 0);
    this.#budgetUntil = carry?.budgetUntil ?? null;
    this.#board = new Board(input, () => this.#state);
    this.#pause = new Pause(this.#board, waits.pauseMs, carry?.paused ?? false);
    this.#calls = new TurnCalls({
      input,
      inbox: this.#inbox,
      pause: this.#pause,
      active: this.#active,
      board: this.#board,
    });
    listen({ inbox: this.#inbox, pause: this.#pause, board: this.#board, closing: () => this.#closing });
  }

  /** Runs turns until there is an end. Cancelling the workflow, or using up the active time, ends what is in flight. */
  async untilEnd(): Promise<End> {
    const work = new CancellationScope({ cancellable: true });
    const clock = new CancellationScope({ cancellable: true });
    let outOfTime = false;
    const watch = clock
      .run(() => this.#active.exhausted(this.#input.limits.activeMs))
      .then(
        () => {
          outOfTime = true;
          work.cancel();
        },
        () => undefined,
      );
    try {
      return await work.run(() => this.#loop());
    } catch (error) {
      const fatal = error instanceof ActivityFailure || error instanceof ApplicationFailure;
      // What was cancelled may fail in its own way: that it was told to stop is what counts.
      if (isCancellation(error) || (fatal && work.consideredCancelled)) {
        return outOfTime
          ? { status: 'failed', reason: 'limit.active_time' }
          : { status: 'cancelled', reason: 'cancelled' };
      }
      if (error instanceof PauseExpired) return { status: 'failed', reason: 'pause_expired' };
      if (fatal) return { status: 'failed', reason: reasonOf(error), message: messageOf(error) };
      // A fault in this code: the task fails and is tried again once it is mended. Continue-as-new comes this way too.
      throw error;
    } finally {
      clock.cancel();
      await CancellationScope.nonCancellable(() => watch);
    }
  }

  async #loop(): Promise<End> {
    for (;;) {
      if (this.#shouldContinueAsNew()) await this.#continueAsNew();
      await this.#pause.over();
      const next = nextTurn(this.#state, this.#input.limits);
      if (next.do === 'stop') return { status: 'failed', reason: next.reason };
      const end = await this.#turn(this.#state.turn + 1);
      if (end) return end;
    }
  }

  /** One model call and what it proposed; null where the run goes on. */
  async #turn(turn: number): Promise<End | null> {
    const { tenant, run, limits } = this.#input;
    this.#board.update();
    const summary = withSummary('think', `turn ${turn} of at most ${limits.modelCalls}`);
    const thought = await this.#pause.around(
      () =>
        this.#active.during(() =>
          think.executeWithOptions(summary, [{ tenant, run, turn, activeMs: this.#active.ms }]),
        ),
      (result) => result.kind === 'paused',
    );
    const { state, next } = afterThink(this.#state, thought);
    this.#state = state;
    if (next.do === 'await_budget') {
      return (await this.#budgetMayHaveGrown(next.level)) ? null : { status: 'budget_exceeded', reason: 'budget' };
    }
    this.#budgetUntil = null;
    this.#raiseCame = false;
    switch (next.do) {
      case 'finish':
        return { status: 'completed', reason: null };
      case 'stop':
        return {
          status: 'failed',
          reason: next.reason,
          ...(next.message === undefined ? {} : { message: next.message }),
        };
      case 'act':
        await this.#calls.all(next.calls);
        return next.thenStop ? { status: 'failed', reason: next.thenStop } : null;
      case 'think':
      case 'await_resume':
        return null;
    }
  }

  /** Waits until it is worth asking again whether the next call is affordable; false where the wait has expired. */
  async #budgetMayHaveGrown(level: BudgetLevel): Promise<boolean> {
    if (this.#raiseCame) this.#inbox.raiseDidNotHelp();
    const until = this.#budgetUntil ?? Date.now() + this.#input.waits.budgetMs;
    this.#budgetUntil = until;
    // A new month brings a new budget to all but the run, and tells nobody. Workers' clocks differ, and not all at once.
    const look = level === 'run' ? until : Math.min(until, nextMonth(Date.now()) + afterMidnight(this.#input.run));
    this.#raiseCame = await this.#board.whileAwaitingBudget(() => this.#inbox.nextRaise(look));
    return this.#raiseCame || look < until;
  }

  #shouldContinueAsNew(): boolean {
    const cap = this.#input.turnsPerExecution;
    const turnsHere = this.#state.turn - this.#turnsBefore;
    return workflowInfo().continueAsNewSuggested || (cap !== undefined && turnsHere >= cap);
  }

  async #continueAsNew(): Promise<void> {
    await condition(allHandlersFinished);
    await continueAsNew<typeof agentRun>({
      ...this.#input,
      carry: toCarry(this.#state, {
        activeMs: this.#active.ms,
        badSignals: this.#inbox.badSignals,
        paused: this.#pause.paused,
        ...(this.#budgetUntil === null ? {} : { budgetUntil: this.#budgetUntil }),
      }),
    });
  }

  /**
   * Settles what is left and writes the end, whatever happened; then ends the workflow the way the run ended. Null where
   * the run was done and a message waits for it: it is not closed, and goes on.
   */
  async close(end: End): Promise<RunOutput | null> {
    this.#closing = true;
    this.#board.closing();
    const closed = await CancellationScope.nonCancellable(async () => {
      const { tenant, run } = this.#input;
      const input: CloseRunInput = { tenant, run, ...end, ...(end.status === 'completed' ? { mayGoOn: true } : {}) };
      const result = await closeRun.executeWithOptions(BOUNDED_CLOSING, [input]).catch((error: unknown) => {
        if (!(error instanceof ActivityFailure)) throw error;
        return closeRun({ ...input, giveUp: true });
      });
      if (result.unread === undefined) await condition(allHandlersFinished, '1m');
      return result;
    });
    if (closed.unread !== undefined) {
      this.#closing = false;
      this.#board.goesOn();
      return null;
    }
    this.#board.ended(end.status, { reason: end.reason, steps: closed.steps, cost: closed.costMicroUsd });
    if (end.status === 'completed') {
      return {
        status: end.status,
        stopReason: null,
        turns: this.#state.turn,
        toolCalls: this.#state.toolCalls,
        costMicroUsd: closed.costMicroUsd,
      };
    }
    const text = `The run ${end.message ?? (end.reason ? STOP_TEXT[end.reason] : end.status)}.`;
    if (end.status === 'cancelled') {
      await cancelRequested();
      throw new CancelledFailure(text);
    }
    throw ApplicationFailure.nonRetryable(text, end.reason ?? end.status);
  }
}

/**
 * A stop may reach the activities ahead of Temporal: the workflow counts as cancelled there only once it was asked to
 * be. Waits a minute at most.
 */
async function cancelRequested(): Promise<void> {
  await condition(() => false, '1m').catch((error: unknown) => {
    if (!isCancellation(error)) throw error;
  });
}

function messageOf(error: ActivityFailure | ApplicationFailure): string {
  return (error.cause?.message ?? error.message).slice(0, 500);
}

function reasonOf(error: ActivityFailure | ApplicationFailure): StopReason {
  const said = error instanceof ActivityFailure ? error.cause : error;
  const code = said instanceof ApplicationFailure ? (said.type ?? '') : '';
  return code.startsWith('MODEL_') ? 'model.error' : 'internal';
}
