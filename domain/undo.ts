import type { Change } from './tools.ts';

/**
 * Undoing what a run has done: the contract of the undo workflow and of its one activity. Inputs and results stand in
 * workflow histories: small, plain, fields added and never renamed.
 */

export const UNDO_WORKFLOW = 'undoRun';

/** The Temporal workflow id of an undo. */
export function undoWorkflowIdOf(undo: string): string {
  return `undo/${undo}`;
}

/**
 * What an undo of one effect came to. pending: not tried to its end yet; undone; refused: nothing was changed, the record
 * has changed since or it was not allowed; cannot: the effect has no undo, or nobody knows whether it took place;
 * unknown: it may have been undone or not. Refused and unknown ones can be asked for again: the key stays the same.
 */
export type UndoState = 'pending' | 'undone' | 'refused' | 'cannot' | 'unknown';

/** Input of the undo workflow. */
export interface UndoInput {
  readonly tenant: string;
  readonly run: string;
  readonly undo: string;
  /** Call ids in the order in which they are undone: what was done last comes first. */
  readonly calls: readonly string[];
}

/** Result of the undo workflow. */
export interface UndoOutput {
  readonly undone: number;
  readonly refused: number;
  readonly unknown: number;
}

export interface UndoCallInput {
  readonly tenant: string;
  readonly run: string;
  readonly undo: string;
  readonly call: string;
  /** True: look once, and record as unknown what cannot be learned. */
  readonly giveUp?: boolean;
}

export interface UndoCallResult {
  readonly state: UndoState;
}

/** The activity of an undo. Safe to run again: the first stored end of a step wins. */
export interface UndoActivities {
  /** The undo of one effect: looked up if tried before, authorised, called under its own key, stored. */
  undoCall(input: UndoCallInput): Promise<UndoCallResult>;
}

/** What the undo of one effect came to, as it is stored. */
export type UndoEnd =
  | { readonly kind: 'undone'; readonly change: Change | null; readonly repeated: boolean }
  | { readonly kind: 'refused' | 'unknown'; readonly code: string; readonly message: string };
