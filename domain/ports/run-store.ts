import type { ModelStop, Usage } from '../conversation.ts';
import type { ErrorCode } from '../errors.ts';
import type { BudgetLevel, ClosedStatus, RunStatus, StopReason } from '../run.ts';
import type { Change } from '../tools.ts';
import type { ModelAnswer, ModelChooser, ModelRequest, ModelRoute } from './model.ts';

/** A run as its workflow names it. The store reads the row under this tenant and verifies the run grant in it. */
export interface RunRef {
  readonly tenant: string;
  readonly run: string;
}

/** One call as the model proposed it. */
export interface Proposal {
  readonly callId: string;
  readonly providerId: string;
  readonly tool: string;
  /** JSON text, or null where the arguments were no JSON object. */
  readonly argsJson: string | null;
  readonly malformed: string | null;
}

/** What a stored turn came to. */
export interface StoredTurn {
  readonly stop: ModelStop;
  readonly proposals: readonly Proposal[];
  /** Of the stored message, and of the summary that was made for the turn. */
  readonly costMicroUsd: number;
  readonly tokens: number;
  /** Summaries a model was asked for: 0 or 1. */
  readonly summaries: number;
  /** True where the provider billed more than was reserved. */
  readonly overage: boolean;
  /** True where the run has cost so much more than its agent usually does that it is stopped. */
  readonly runaway?: boolean;
}

export type OpenedTurn =
  /** The turn's message is stored already. */
  | { readonly kind: 'stored'; readonly turn: StoredTurn; readonly runGrant: string }
  /** The worst case is reserved on every ledger level under this attempt's id. */
  | {
      readonly kind: 'reserved';
      readonly request: ModelRequest;
      readonly reservedMicroUsd: number;
      readonly runGrant: string;
      /** What the request's model was chosen by. */
      readonly route: ModelRoute;
    }
  /** As `reserved`, for a summary of what no longer fits: to be made and stored before the turn is opened again. */
  | {
      readonly kind: 'summarise';
      readonly request: ModelRequest;
      readonly reservedMicroUsd: number;
      readonly runGrant: string;
      readonly route: ModelRoute;
      readonly cut: SummaryCut;
    }
  /** However it is shortened, the conversation does not fit the model's window. */
  | { readonly kind: 'too_long'; readonly tokens: number; readonly most: number }
  | { readonly kind: 'budget'; readonly level: BudgetLevel; readonly needMicroUsd: number }
  /** The run's user calls models too often: to be opened again at `until`, milliseconds since 1970. */
  | { readonly kind: 'throttled'; readonly until: number }
  /** The run is paused; nothing was reserved. */
  | { readonly kind: 'paused' }
  /** The run is to be cancelled; nothing was reserved. */
  | { readonly kind: 'cancelled' }
  /** This turn has failed too often. */
  | { readonly kind: 'gave_up'; readonly attempts: number }
  | { readonly kind: 'closed'; readonly status: RunStatus };

/** What a summary is to stand for. */
export interface SummaryCut {
  /** Everything up to this step, counted on through all runs of the conversation. */
  readonly through: number;
  /** Of that, what users said, as they said it; what had no room is counted. */
  readonly words: readonly string[];
  readonly wordsLeftOut: number;
  /** The summary that stands at its beginning; null where there is none. */
  readonly earlier: string | null;
}

/** How an attempt that stored nothing is settled. */
export type AttemptEnd =
  | { readonly kind: 'usage'; readonly usage: Usage }
  | { readonly kind: 'reservation' }
  | { readonly kind: 'nothing' };

/** One attempt at a turn's model call. */
export interface TurnAttempt {
  readonly id: string;
  readonly number: number;
  readonly deadlineAt: Date;
  /** True where it has waited long enough, and is not throttled any more. */
  readonly unthrottled?: boolean;
}

/** Where turns are read and stored. Every method is one transaction. */
export interface TurnStore {
  /**
   * Reads the turn; where it is not stored, loads the conversation and reserves for a model call. What was said to the
   * run and not read yet becomes part of the turn with its first attempt. Without a chooser the run's own model is asked.
   */
  openTurn(
    ref: RunRef,
    turn: number,
    attempt: TurnAttempt,
    estimateInputTokens: (request: ModelRequest) => number,
    chooser?: ModelChooser,
  ): Promise<OpenedTurn>;
  /**
   * Stores message, raw usage and settlement together. Where another attempt's message is stored already, only settles
   * this one and returns the other's.
   */
  storeAnswer(ref: RunRef, turn: number, attemptId: string, answer: ModelAnswer, activeMs: number): Promise<StoredTurn>;
  /**
   * Stores a summary and its settlement together. `answer` null, or one that is no summary: what was to be summed up is
   * left out without. Where the conversation was shortened in this turn already it only settles.
   */
  storeSummary(
    ref: RunRef,
    turn: number,
    attemptId: string,
    cut: SummaryCut,
    answer: ModelAnswer | null,
  ): Promise<void>;
  /** Settles an attempt that stored nothing, and writes why it failed. Safe to repeat. Returns what it cost. */
  endAttempt(
    ref: RunRef,
    turn: number,
    attemptId: string,
    end: AttemptEnd,
    failure: { readonly code: ErrorCode; readonly message: string; readonly retrying: boolean },
  ): Promise<number>;
  /** Appends a piece of the answer while it is streamed. */
  addText(ref: RunRef, turn: number, attempt: number, start: number, text: string): Promise<void>;
}

/** A judged call as `act` needs it. */
export interface OpenedCall {
  readonly state: string;
  readonly tool: string;
  readonly catalog: string;
  readonly key: string;
  readonly digest: string;
  readonly attempts: number;
  readonly timeoutMs: number;
  readonly hasEffect: boolean;
  readonly runGrant: string;
  readonly runClosed: boolean;
  readonly cancelRequested: boolean;
}

/** What a call came to. */
export type CallEnd =
  | {
      readonly kind: 'done';
      readonly resultJson: string;
      readonly change: Change | null;
      readonly undoable: boolean;
      readonly repeated: boolean;
    }
  | {
      readonly kind: 'refused' | 'denied' | 'failed' | 'cancelled';
      readonly code: string;
      readonly message: string;
      /** The attempts it speaks for, where it does not for all. */
      readonly covers?: number;
    };

export interface CallStore {
  /** Throws NOT_FOUND where the run has no such call. */
  openCall(ref: RunRef, callId: string): Promise<OpenedCall>;
  /**
   * Stores what a call came to, with its answer to the model. The first stored end wins; a repeat changes nothing. False
   * where more attempts were let begin than the end covers: nothing is stored.
   */
  endCall(ref: RunRef, callId: string, end: CallEnd): Promise<boolean>;
  /** Shows that it is not known whether the call took place. Nothing is told to the model. */
  markUnknown(ref: RunRef, callId: string, message: string): Promise<void>;
}

export interface CloseStore {
  /** Calls that were started and have no end. */
  startedCalls(ref: RunRef): Promise<readonly (OpenedCall & { readonly callId: string })[]>;
  /**
   * Charges attempts left open, voids approvals, frees the slot and writes the end. A repeat returns the first end.
   * `mayGoOn`: changes nothing where a message waits unread, and says how many do in `unread`, which is 0 else.
   */
  close(
    ref: RunRef,
    end: {
      readonly status: ClosedStatus;
      readonly reason: StopReason | null;
      readonly message: string;
      readonly mayGoOn?: boolean;
    },
  ): Promise<{
    readonly costMicroUsd: number;
    readonly steps: number;
    readonly unknown: number;
    readonly unread: number;
    readonly promoted: readonly number[];
  }>;
}
