import type { ClosedStatus, RunLimits, StopReason, Waits } from './run.ts';
import type { LoopWindow } from './run-state.ts';

/**
 * The contract of the run workflow: what starts it, what may be sent to it, what it gives back. Shared by the worker,
 * which runs it, and by run-api and guard, which talk to it. Everything here stands in workflow histories: fields are
 * added, never renamed.
 */

export const RUN_WORKFLOW = 'agentRun';
export const MAINTENANCE_WORKFLOW = 'maintenance';
/** One task queue for runs: eager activities need their workflow's own. */
export const RUN_TASK_QUEUE = 'steward-runs';
export const MAINTENANCE_TASK_QUEUE = 'steward-maintenance';

export const DECIDE_APPROVAL = 'decideApproval';
export const RAISE_BUDGET = 'raiseBudget';
export const PAUSE_RUN = 'pauseRun';
export const RESUME_RUN = 'resumeRun';
export const STATE_QUERY = 'state';

/** Input of the run workflow. The conversation is not in it: it lives in Postgres and is read by reference. */
export interface RunInput {
  readonly tenant: string;
  readonly run: string;
  readonly agent: string;
  readonly limits: RunLimits;
  readonly waits: Waits;
  /** Where this execution continues another one. */
  readonly carry?: RunCarry;
  /** Continue as new after so many turns even where Temporal does not suggest it yet. */
  readonly turnsPerExecution?: number;
}

/** What a run takes along when it continues as new. */
export interface RunCarry {
  readonly turn: number;
  readonly modelCalls: number;
  readonly toolCalls: number;
  readonly tokens: number;
  readonly activeMs: number;
  readonly costMicroUsd: number;
  readonly loop: LoopWindow;
  readonly unknownTools: number;
  readonly badSignals: number;
  readonly toolsUsed: readonly string[];
  readonly paused: boolean;
  /** Until when the run waits for budget, in milliseconds since 1970; absent where it does not. */
  readonly budgetUntil?: number;
}

/** Result of the run workflow. */
export interface RunOutput {
  readonly status: ClosedStatus;
  readonly stopReason: StopReason | null;
  readonly turns: number;
  readonly toolCalls: number;
  readonly costMicroUsd: number;
}

/**
 * Payload of the signal and Update `decideApproval`. Steward's own delivery names the approval only; the run asks the
 * guard what was decided. An internal tool puts the text from SignDecision into `signed`.
 */
export interface DecideApprovalSignal {
  readonly approvalId: string;
  readonly digest: string;
  readonly signed?: string;
}

/** Longest `signed` text a handler takes. */
export const MAX_SIGNED_DECISION = 4096;

export interface DecideApprovalResult {
  /** True where the run has taken a person's answer over. */
  readonly applied: boolean;
  readonly state: 'open' | 'approved' | 'denied' | 'expired' | 'void';
}

/** The raise id of Steward's own hint that what others had reserved is free again. */
export const FREED_HINT = 'freed';

/** Payload of the signal and Update `raiseBudget`: the amount stands in the ledger. */
export interface RaiseBudgetSignal {
  readonly raiseId: string;
}

export interface RaiseBudgetResult {
  /** True where the run has looked at its budget again, or looks at it before its next model call anyway. */
  readonly applied: boolean;
}

export interface PauseSignal {
  readonly by: string;
}

/** Answer of the query `state`. */
export interface RunStateView {
  readonly run: string;
  readonly turn: number;
  readonly phase: 'thinking' | 'acting' | 'awaiting_approval' | 'awaiting_budget' | 'paused' | 'closing';
  readonly waitingFor: readonly { readonly approvalId: string; readonly callId: string; readonly tool: string }[];
  readonly running: readonly { readonly callId: string; readonly tool: string }[];
  readonly costMicroUsd: number;
  readonly modelCalls: number;
  readonly toolCalls: number;
}
