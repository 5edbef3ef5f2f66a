import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  isCancellation,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { CloseRunInput, JudgedCall } from '#domain/ports/run-activities.ts';
import { type ClosedStatus, STOP_TEXT, type StopReason } from '#domain/run.ts';
import { afterThink, fromCarry, nextTurn, type RunState, toCarry, waitsFor } from '#domain/run-state.ts';
import {
  DECIDE_APPROVAL,
  type DecideApprovalResult,
  type DecideApprovalSignal,
  PAUSE_RUN,
  type PauseSignal,
  RAISE_BUDGET,
  type RaiseBudgetSignal,
  RESUME_RUN,
  type RunInput,
  type RunOutput,
  type RunStateView,
  STATE_QUERY,
} from '#domain/run-workflow.ts';
import { ActiveTime } from './active-time.ts';
import { act, BOUNDED_CLOSING, closeRun, confirmDecision, think, withSummary } from './activities.ts';
import { Inbox } from './inbox.ts';
import { showDetails, showStatus } from './visibility.ts';

const decideApproval = defineSignal<[DecideApprovalSignal]>(DECIDE_APPROVAL);
const raiseBudget = defineSignal<[RaiseBudgetSignal]>(RAISE_BUDGET);
const pauseRun = defineSignal<[PauseSignal]>(PAUSE_RUN);
const resumeRun = defineSignal<[PauseSignal]>(RESUME_RUN);
const decideApprovalUpdate = defineUpdate<DecideApprovalResult, [DecideApprovalSignal]>(DECIDE_APPROVAL);
const raiseBudgetUpdate = defineUpdate<{ applied: boolean }, [RaiseBudgetSignal]>(RAISE_BUDGET);
const stateQuery = defineQuery<RunStateView>(STATE_QUERY);

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
  run.listen();
  const end = await run.untilEnd();
  return run.close(end);
}

class AgentRun {
  readonly #input: RunInput;
  #state: RunState;
  readonly #active: ActiveTime;
  readonly #inbox: Inbox;
  #paused: boolean;
  #turnsHere = 0;
  #phase: RunStateView['phase'] = 'thinking';
  #outOfTime = false;
  /** Approval id to digest, of calls that wait for a person. */
  readonly #pending = new Map<string, string>();
  readonly #waiting = new Map<string, JudgedCall>();
  readonly #running = new Map<string, JudgedCall>();
  readonly #answers = new Map<string, DecideApprovalResult['state']>();
  #raisesApplied = 0;
  /** Until when this turn waits for budget, however many raises turn out to be too small. */
  #budgetUntil: number | null = null;
  #closing = false;

  constructor(input: RunInput) {
    this.#input = input;
    this.#state = fromCarry(input.carry);
    this.#active = new ActiveTime(input.carry?.activeMs ?? 0);
    this.#inbox = new Inbox(input.carry?.badSignals ?? 0);
    this.#paused = input.carry?.paused ?? false;
  }

  listen(): void {
    setHandler(decideApproval, (signal) => {
      if (this.#inbox.isWellFormed(signal, this.#pending)) this.#inbox.addDecision(signal);
      else this.#inbox.badSignals += 1;
    });
    setHandler(
      decideApprovalUpdate,
      async (signal) => {
        this.#inbox.addDecision(signal);
        await condition(() => this.#closing || this.#answers.has(signal.approvalId), '1m');
        const state = this.#answers.get(signal.approvalId) ?? 'open';
        return { applied: state !== 'open', state };
      },
      {
        validator: (signal) => {
          if (!this.#inbox.isWellFormed(signal, this.#pending)) {
            throw ApplicationFailure.nonRetryable('No call of this run waits for that approval with that digest.', 'WRONG_STATE');
          }
        },
      },
    );
    setHandler(raiseBudget, (signal) => this.#inbox.addRaise(signal));
    setHandler(raiseBudgetUpdate, async (signal) => {
      const before = this.#raisesApplied;
      this.#inbox.addRaise(signal);
      await condition(() => this.#closing || this.#raisesApplied > before, '1m');
      return { applied: this.#raisesApplied > before };
    });
    setHandler(pauseRun, () => {
      this.#paused = true;
    });
    setHandler(resumeRun, () => {
      this.#paused = false;
    });
    setHandler(stateQuery, () => this.#view());
  }

  /** Runs turns until there is an end. Cancelling the workflow, or using up the active time, ends what is in flight. */
  async untilEnd(): Promise<End> {
    const work = new CancellationScope({ cancellable: true });
    const clock = new CancellationScope({ cancellable: true });
    const watch = clock
      .run(() => this.#active.exhausted(this.#input.limits.activeMs))
      .then(
        () => {
          this.#outOfTime = true;
          work.cancel();
        },
        () => undefined,
      );
    try {
      return await work.run(() => this.#loop());
    } catch (error) {
      if (error instanceof PauseExpired) return { status: 'failed', reason: 'pause_expired' };
      if (isCancellation(error)) {
        return this.#outOfTime
          ? { status: 'failed', reason: 'limit.active_time' }
          : { status: 'cancelled', reason: 'cancelled' };
      }
      if (error instanceof ActivityFailure) return { status: 'failed', reason: 'internal', message: messageOf(error) };
      // A fault in this code: the task fails and is tried again once it is mended.
      throw error;
    } finally {
      clock.cancel();
      await CancellationScope.nonCancellable(() => watch);
    }
  }

  async #loop(): Promise<End> {
    for (;;) {
      await this.#whileNotPaused();
      const planned = nextTurn(this.#state, this.#input.limits);
      if (planned.do === 'stop') return { status: 'failed', reason: planned.reason };
      const end = await this.#turn(this.#state.turn + 1);
      if (end) return end;
      this.#turnsHere += 1;
      if (this.#shouldContinueAsNew()) await this.#continueAsNew();
    }
  }

  /** One model call and what it proposed; null where the run goes on. */
  async #turn(turn: number): Promise<End | null> {
    const { tenant, run, limits } = this.#input;
    this.#enter('thinking');
    const thought = await this.#active
      .during(() =>
        think.executeWithOptions(withSummary('think', `turn ${turn} of at most ${limits.modelCalls}`), [
          { tenant, run, turn, activeMs: this.#active.ms },
        ]),
      )
      .catch((error: unknown) => {
        if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
        return { failed: error };
      });
    if ('failed' in thought) {
      const reason = typeOf(thought.failed).startsWith('MODEL_') ? 'model.error' : 'internal';
      return { status: 'failed', reason, message: messageOf(thought.failed) };
    }
    if (thought.kind !== 'budget') this.#budgetUntil = null;

    const { state, next } = afterThink(this.#state, thought);
    this.#state = state;
    switch (next.do) {
      case 'await_budget':
        return (await this.#budgetRaised()) ? null : { status: 'budget_exceeded', reason: 'budget' };
      case 'finish':
        return { status: 'completed', reason: null };
      case 'stop':
        return {
          status: 'failed',
          reason: next.reason,
          ...(next.message === undefined ? {} : { message: next.message }),
        };
      case 'act':
        await this.#actAll(next.calls);
        return next.thenStop ? { status: 'failed', reason: next.thenStop } : null;
      case 'think':
        return null;
    }
  }

  /** Independent calls side by side, conflicting ones in order. After a fatal failure nothing more is started. */
  async #actAll(calls: readonly JudgedCall[]): Promise<void> {
    if (calls.length === 0) return;
    const order = waitsFor(calls);
    const done = new Map<string, Promise<void>>();
    await CancellationScope.cancellable(async () => {
      for (const call of calls) {
        const earlier = (order.get(call.id) ?? []).map((id) => done.get(id));
        done.set(
          call.id,
          Promise.all(earlier).then(() => this.#call(call)),
        );
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

  async #call(call: JudgedCall): Promise<void> {
    if (call.verdict === 'ask' && !(await this.#approved(call))) return;
    await this.#whileNotPaused();
    const { tenant, run } = this.#input;
    this.#running.set(call.id, call);
    this.#enter('acting');
    try {
      const input = { tenant, run, call: call.id, digest: call.digest ?? '' };
      await this.#active.during(() => act.executeWithOptions(withSummary('act', `${call.tool} (${call.id})`), [input]));
    } finally {
      this.#running.delete(call.id);
    }
  }

  /** Waits for the answer to one call, on its own condition, until its approval expires. */
  async #approved(call: JudgedCall): Promise<boolean> {
    const { tenant, run } = this.#input;
    const approval = call.approval ?? '';
    this.#pending.set(approval, call.digest ?? '');
    this.#waiting.set(call.id, call);
    if (this.#waiting.size === 1) showStatus('awaiting_approval', this.#state, null);
    this.#enter('awaiting_approval');
    try {
      for (;;) {
        const left = (call.expiresAt ?? 0) - Date.now();
        const message = await this.#inbox.nextDecision(approval, left);
        const { state, forged } = await confirmDecision({ tenant, run, call: call.id, approval, ...message });
        if (state !== 'open') {
          this.#answers.set(approval, state);
          return state === 'approved';
        }
        if (forged || message) this.#inbox.badSignals += 1;
        // The guard's clock decides what has expired: where it is behind ours, ask again in a moment.
        if (!message) await condition(() => false, '1s');
      }
    } finally {
      this.#pending.delete(approval);
      this.#waiting.delete(call.id);
      if (this.#waiting.size === 0) showStatus('running', this.#state, null);
    }
  }

  async #budgetRaised(): Promise<boolean> {
    // A raise that did not help counts like a false message: a flood of them is heard once a minute.
    if (this.#budgetUntil !== null) this.#inbox.badSignals += 1;
    this.#budgetUntil ??= Date.now() + this.#input.waits.budgetMs;
    showStatus('budget_exceeded', this.#state, null);
    this.#enter('awaiting_budget');
    const raised = await this.#inbox.nextRaise(this.#budgetUntil - Date.now());
    if (raised) {
      this.#raisesApplied += 1;
      showStatus('running', this.#state, null);
    }
    return raised;
  }

  /** Returns when the run is not paused; throws PauseExpired where nobody resumed it in time. */
  async #whileNotPaused(): Promise<void> {
    if (!this.#paused) return;
    showStatus('paused', this.#state, null);
    this.#enter('paused');
    const resumed = await condition(() => !this.#paused, this.#input.waits.pauseMs);
    if (!resumed) throw new PauseExpired();
    showStatus('running', this.#state, null);
  }

  #shouldContinueAsNew(): boolean {
    const cap = this.#input.turnsPerExecution;
    return workflowInfo().continueAsNewSuggested || (cap !== undefined && this.#turnsHere >= cap);
  }

  async #continueAsNew(): Promise<void> {
    await condition(allHandlersFinished);
    await continueAsNew<typeof agentRun>({
      ...this.#input,
      carry: toCarry(this.#state, {
        activeMs: this.#active.ms,
        badSignals: this.#inbox.badSignals,
        paused: this.#paused,
      }),
    });
  }

  /** Settles what is left and writes the end, whatever happened; then ends the workflow the way the run ended. */
  async close(end: End): Promise<RunOutput> {
    this.#closing = true;
    this.#enter('closing');
    const closed = await CancellationScope.nonCancellable(async () => {
      const { tenant, run } = this.#input;
      const input: CloseRunInput = { tenant, run, ...end };
      const result = await closeRun.executeWithOptions(BOUNDED_CLOSING, [input]).catch((error: unknown) => {
        if (!(error instanceof ActivityFailure)) throw error;
        return closeRun({ ...input, giveUp: true });
      });
      await condition(allHandlersFinished, '1m');
      return result;
    });
    const counts = { costMicroUsd: closed.costMicroUsd, toolsUsed: this.#state.toolsUsed };
    showStatus(end.status, counts, { reason: end.reason, steps: closed.steps });
    this.#enter('closing');
    if (end.status === 'completed') {
      return {
        status: end.status,
        stopReason: null,
        turns: this.#state.turn,
        toolCalls: this.#state.toolCalls,
        costMicroUsd: closed.costMicroUsd,
      };
    }
    const text = end.message ?? (end.reason ? STOP_TEXT[end.reason] : '');
    if (end.status === 'cancelled') throw new CancelledFailure(`The run ${text}.`);
    throw ApplicationFailure.nonRetryable(`The run ${text}.`, end.reason ?? end.status);
  }

  #enter(phase: RunStateView['phase']): void {
    this.#phase = phase;
    showDetails(this.#input, this.#view());
  }

  #view(): RunStateView {
    return {
      run: this.#input.run,
      turn: this.#state.turn,
      phase: this.#phase,
      waitingFor: [...this.#waiting.values()].map((call) => ({
        approvalId: call.approval ?? '',
        callId: call.id,
        tool: call.tool,
      })),
      running: [...this.#running.values()].map((call) => ({ callId: call.id, tool: call.tool })),
      costMicroUsd: this.#state.costMicroUsd,
      modelCalls: this.#state.modelCalls,
      toolCalls: this.#state.toolCalls,
    };
  }
}

class PauseExpired extends Error {}

function messageOf(error: ActivityFailure): string {
  return (error.cause?.message ?? error.message).slice(0, 500);
}

/** The error code a failed activity gave, or an empty text. */
function typeOf(error: ActivityFailure): string {
  return error.cause instanceof ApplicationFailure ? (error.cause.type ?? '') : '';
}
