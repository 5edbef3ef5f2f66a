import type { ErrorCode } from '../errors.ts';
import type { BudgetLevel, ClosedStatus, StopReason } from '../run.ts';

/**
 * The activities of a run, as its workflow calls them. Inputs and results stand in workflow histories: small, plain,
 * fields added and never renamed. All are safe to run again: the first stored outcome wins.
 */
export interface RunActivities {
  /** One model call, stored before anything is done about it, and its calls judged. */
  think(input: ThinkInput): Promise<ThinkResult>;
  /** One tool call: resolved if started before, authorised, executed, stored. */
  act(input: ActInput): Promise<ActResult>;
  /** What was decided about an approval; a signed decision is verified and recorded by the guard first. */
  confirmDecision(input: ConfirmDecisionInput): Promise<ConfirmDecisionResult>;
  /** Settles what is left in flight and writes the end of the run. */
  closeRun(input: CloseRunInput): Promise<CloseRunResult>;
}

export interface ThinkInput {
  readonly tenant: string;
  readonly run: string;
  readonly turn: number;
  /** Active time used so far, in milliseconds: for the 75 % warning. */
  readonly activeMs: number;
}

/** `summaries`: model calls beside the turn's own, made to sum up what no longer fits; absent where there were none. */
export type ThinkResult =
  | {
      readonly kind: 'calls';
      readonly calls: readonly JudgedCall[];
      readonly tokens: number;
      readonly costMicroUsd: number;
      readonly summaries?: number;
    }
  | { readonly kind: 'final'; readonly tokens: number; readonly costMicroUsd: number; readonly summaries?: number }
  /** Not affordable: nothing was called. */
  | { readonly kind: 'budget'; readonly level: BudgetLevel; readonly needMicroUsd: number }
  /** The run is paused, and its workflow may not have heard of it yet: nothing was called. */
  | { readonly kind: 'paused' }
  | {
      readonly kind: 'stop';
      readonly reason: StopReason;
      readonly message: string;
      readonly tokens: number;
      readonly costMicroUsd: number;
      readonly summaries?: number;
    };

/** One call as the guard judged it. Optional fields are absent, not null, to keep histories short. */
export interface JudgedCall {
  readonly id: string;
  readonly tool: string;
  readonly verdict: 'allow' | 'deny' | 'ask';
  /** Deny only. */
  readonly code?: ErrorCode;
  /** Ask only. */
  readonly approval?: string;
  /** Ask only: milliseconds since 1970. */
  readonly expiresAt?: number;
  readonly digest?: string;
  /** Resource keys; absent where there are none. */
  readonly keys?: readonly string[];
  /** Present and true for tools with effect. */
  readonly effect?: boolean;
  readonly timeoutMs?: number;
  /** First 16 hex digits of SHA-256 over tool and arguments: for the loop guard. */
  readonly sig: string;
}

export interface ActInput {
  readonly tenant: string;
  readonly run: string;
  readonly call: string;
  readonly digest: string;
}

export interface ActResult {
  /**
   * done: the tool answered; refused: the domain said no; denied: the guard said no; failed: it did not take place;
   * paused: the run is, and its workflow may not have heard of it yet; the call has not ended.
   */
  readonly outcome: 'done' | 'refused' | 'denied' | 'failed' | 'paused';
}

export interface ConfirmDecisionInput {
  readonly tenant: string;
  readonly run: string;
  readonly call: string;
  readonly approval: string;
  readonly signed?: string;
}

export interface ConfirmDecisionResult {
  readonly state: 'open' | 'approved' | 'denied' | 'expired' | 'void';
  /** True where a signed decision was given and did not verify. */
  readonly forged?: boolean;
}

export interface CloseRunInput {
  readonly tenant: string;
  readonly run: string;
  readonly status: ClosedStatus;
  readonly reason: StopReason | null;
  readonly message?: string;
  /** True: record calls that cannot be resolved as outcome_unknown and close all the same. */
  readonly giveUp?: boolean;
  /** True: where a message waits unread the run stays open, and its workflow takes another turn. */
  readonly mayGoOn?: boolean;
}

export interface CloseRunResult {
  readonly costMicroUsd: number;
  readonly steps: number;
  readonly unknown: number;
  /** Present where the run is not closed: so many messages wait to be read. */
  readonly unread?: number;
}
