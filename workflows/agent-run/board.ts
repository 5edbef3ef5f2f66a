import { defineSearchAttributeKey } from '@temporalio/common';
import { setCurrentDetails, upsertSearchAttributes, workflowInfo } from '@temporalio/workflow';
import type { JudgedCall } from '#domain/ports/run-activities.ts';
import type { RunStatus, StopReason } from '#domain/run.ts';
import type { RunState } from '#domain/run-state.ts';
import type { RunInput, RunStateView } from '#domain/run-workflow.ts';

const RUN_STATUS = defineSearchAttributeKey('RunStatus', 'KEYWORD');
const STOP_REASON = defineSearchAttributeKey('StopReason', 'KEYWORD');
const TOOLS_USED = defineSearchAttributeKey('ToolsUsed', 'KEYWORD_LIST');
const COST = defineSearchAttributeKey('CostMicroUsd', 'INT');
const STEPS = defineSearchAttributeKey('StepCount', 'INT');
const AWAITING_SINCE = defineSearchAttributeKey('AwaitingSince', 'DATETIME');

/**
 * What a run is doing right now, as the query answers it and as Temporal's Web UI shows it. Lists there are filtered by
 * search attributes, which are written when the status changes and not every turn: each is an event. The text of the
 * page is kept in memory only, so it costs no history.
 */
export class Board {
  readonly #input: RunInput;
  readonly #state: () => RunState;
  readonly #waiting = new Map<string, JudgedCall>();
  readonly #running = new Map<string, JudgedCall>();
  #paused = 0;
  #forBudget = false;
  #closing = false;
  /** As the lists have it: run-api starts every run as `running`. */
  #listed: RunStatus = 'running';

  constructor(input: RunInput, state: () => RunState) {
    this.#input = input;
    this.#state = state;
    // The lists keep what the execution before this one has written, which may have been a wait.
    if (input.carry) this.#list('running');
  }

  /** Shows a call as waiting for a person while `work` is under way. */
  whileWaiting<T>(call: JudgedCall, work: () => Promise<T>): Promise<T> {
    return this.#during(
      () => this.#waiting.set(call.id, call),
      work,
      () => this.#waiting.delete(call.id),
    );
  }

  /** Shows a call as running while `work` is under way. */
  whileRunning<T>(call: JudgedCall, work: () => Promise<T>): Promise<T> {
    return this.#during(
      () => this.#running.set(call.id, call),
      work,
      () => this.#running.delete(call.id),
    );
  }

  whilePaused<T>(work: () => Promise<T>): Promise<T> {
    return this.#during(
      () => {
        this.#paused += 1;
      },
      work,
      () => {
        this.#paused -= 1;
      },
    );
  }

  whileAwaitingBudget<T>(work: () => Promise<T>): Promise<T> {
    return this.#during(
      () => {
        this.#forBudget = true;
      },
      work,
      () => {
        this.#forBudget = false;
      },
    );
  }

  /** The run has come to its end and settles what is left. */
  closing(): void {
    this.#closing = true;
    this.#showDetails();
  }

  /** The run has not ended after all: somebody has said something to it. */
  goesOn(): void {
    this.#closing = false;
    this.#showDetails();
  }

  /** The run has ended so. */
  ended(
    status: RunStatus,
    end: { readonly reason: StopReason | null; readonly steps: number; readonly cost: number },
  ): void {
    this.#showDetails(status);
    upsertSearchAttributes([
      { key: RUN_STATUS, value: status },
      { key: COST, value: end.cost },
      { key: TOOLS_USED, value: [...this.#state().toolsUsed] },
      { key: AWAITING_SINCE, value: null },
      { key: STEPS, value: end.steps },
      ...(end.reason ? [{ key: STOP_REASON, value: end.reason }] : []),
    ]);
  }

  /** Shows what has changed in the run's counters. */
  update(): void {
    const status = this.#status();
    if (status !== this.#listed) this.#list(status);
    this.#showDetails();
  }

  view(): RunStateView {
    const state = this.#state();
    return {
      run: this.#input.run,
      turn: state.turn,
      phase: this.#phase(),
      waitingFor: [...this.#waiting.values()].map((call) => ({
        approvalId: call.approval ?? '',
        callId: call.id,
        tool: call.tool,
      })),
      running: [...this.#running.values()].map((call) => ({ callId: call.id, tool: call.tool })),
      costMicroUsd: state.costMicroUsd,
      modelCalls: state.modelCalls,
      toolCalls: state.toolCalls,
    };
  }

  async #during<T>(begin: () => void, work: () => Promise<T>, end: () => void): Promise<T> {
    begin();
    this.update();
    try {
      return await work();
    } finally {
      end();
      this.update();
    }
  }

  #phase(): RunStateView['phase'] {
    if (this.#closing) return 'closing';
    if (this.#forBudget) return 'awaiting_budget';
    if (this.#running.size > 0) return 'acting';
    if (this.#paused > 0) return 'paused';
    return this.#waiting.size > 0 ? 'awaiting_approval' : 'thinking';
  }

  #status(): RunStatus {
    if (this.#paused > 0) return 'paused';
    if (this.#forBudget) return 'budget_exceeded';
    return this.#waiting.size > 0 ? 'awaiting_approval' : 'running';
  }

  #list(status: RunStatus): void {
    // What ends together is written once, by `ended`.
    if (this.#closing) return;
    this.#listed = status;
    const state = this.#state();
    upsertSearchAttributes([
      { key: RUN_STATUS, value: status },
      { key: COST, value: state.costMicroUsd },
      { key: TOOLS_USED, value: [...state.toolsUsed] },
      { key: AWAITING_SINCE, value: status === 'running' ? null : new Date() },
    ]);
  }

  #showDetails(ended?: RunStatus): void {
    const view = this.view();
    const { limits, tenant, agent } = this.#input;
    const lines = [
      `**${(ended ?? view.phase).replaceAll('_', ' ')}** in turn ${view.turn}`,
      '',
      `- tenant: ${tenant}`,
      `- agent: ${agent}`,
      `- cost: $${(view.costMicroUsd / 1e6).toFixed(4)}`,
      `- model calls: ${view.modelCalls} of ${limits.modelCalls}`,
      `- tool calls: ${view.toolCalls} of ${limits.toolCalls}`,
      ...view.running.map((call) => `- running: ${call.tool} (${call.callId})`),
      ...view.waitingFor.map(
        (wait) => `- waiting for a person: ${wait.tool} (${wait.callId}), approval \`${wait.approvalId}\``,
      ),
      `- events in this execution: ${workflowInfo().historyLength}`,
    ];
    setCurrentDetails(lines.join('\n'));
  }
}
