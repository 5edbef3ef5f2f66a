import type { Change } from '../tools.ts';
import type { ConfirmDecisionResult, JudgedCall } from './run-activities.ts';
import type { Proposal } from './run-store.ts';
import type { CancelSignal } from './signal.ts';

/** Leave to carry out one attempt of one call, for at most two minutes. */
export interface CallLeave {
  readonly actionRecord: Uint8Array;
  readonly catalog: string;
  readonly executionGrants: readonly string[];
  /** Which one of the call this is, from 1. */
  readonly attempt: number;
}

/** A call that the guard has marked started as it judged it. */
export interface BegunCall {
  readonly callId: string;
  readonly tool: string;
  readonly digest: string;
  readonly timeoutMs: number;
  readonly hasEffect: boolean;
  readonly leave: CallLeave;
}

/** The guard as activities use it. Errors are StewardErrors; UNAVAILABLE means nothing is allowed now. */
export interface GuardPort {
  /** Judges the calls of a turn, and begins those that may begin at once. A repeat begins none. */
  judge(
    runGrant: string,
    turn: number,
    calls: readonly Proposal[],
    signal: CancelSignal,
  ): Promise<{ readonly calls: readonly JudgedCall[]; readonly begun: readonly BegunCall[] }>;
  authorize(runGrant: string, callId: string, digest: string, signal: CancelSignal): Promise<CallLeave>;
  confirmDecision(
    runGrant: string,
    approvalId: string,
    signed: string | undefined,
    signal: CancelSignal,
  ): Promise<ConfirmDecisionResult>;
}

export interface Receipt {
  readonly kind: 'receipt';
  readonly resultJson: string;
  readonly change: Change | null;
  readonly undoable: boolean;
  readonly repeated: boolean;
}

export type ExecuteOutcome = Receipt | { readonly kind: 'refusal'; readonly code: string; readonly message: string };

export type Resolution =
  | Receipt
  | { readonly kind: 'tombstone' }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'in_doubt'; readonly running: boolean; readonly repeatable: boolean };

/** The tool catalogs as activities use them. */
export interface CatalogPort {
  /**
   * One Execute. Throws StewardError; codes CATALOG_UNAVAILABLE, CATALOG_BROKEN, DEADLINE, CANCELLED and
   * OUTCOME_UNKNOWN leave the outcome open, every other one is the catalog's definite refusal of this attempt.
   */
  execute(
    catalog: string,
    request: {
      readonly actionRecord: Uint8Array;
      readonly runGrant: string;
      readonly executionGrants: readonly string[];
      readonly timeoutMs: number;
    },
    signal: CancelSignal,
  ): Promise<ExecuteOutcome>;
  /** Settles a key, or only looks. Throws CATALOG_UNAVAILABLE where it cannot be learned now. */
  resolve(
    catalog: string,
    request: { readonly key: string; readonly digest: string; readonly runGrant: string; readonly lookOnly: boolean },
    signal: CancelSignal,
  ): Promise<Resolution>;
}
