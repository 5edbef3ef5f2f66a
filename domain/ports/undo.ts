import type { UndoEnd, UndoState } from '../undo.ts';
import type { RunRef } from './run-store.ts';
import type { CatalogPort, ExecuteOutcome } from './services.ts';
import type { CancelSignal } from './signal.ts';

/** One step of an undo as its activity needs it. */
export interface OpenedUndo {
  readonly state: UndoState;
  readonly tool: string;
  readonly catalog: string;
  /** The undo's own key, which hangs on the effect's. */
  readonly key: string;
  /** Of the undo's action record; null before it was first authorised. */
  readonly digest: string | null;
  readonly attempts: number;
  /** When it was last authorised, in milliseconds since 1970; null before. */
  readonly authorizedAt: number | null;
  readonly timeoutMs: number;
  readonly runGrant: string;
}

export interface UndoStore {
  /** Throws NOT_FOUND where the undo has no such step. */
  openUndo(ref: RunRef, undo: string, callId: string): Promise<OpenedUndo>;
  /** Stores what a step came to. The first stored end wins; returns the one that stands. */
  endUndo(ref: RunRef, undo: string, callId: string, end: UndoEnd): Promise<UndoState>;
}

/** The guard as undoing uses it. Errors are StewardErrors; UNAVAILABLE means nothing is allowed now. */
export interface UndoGuardPort {
  authorizeUndo(
    runGrant: string,
    undo: string,
    callId: string,
    signal: CancelSignal,
  ): Promise<{
    readonly actionRecord: Uint8Array;
    readonly catalog: string;
    readonly executionGrants: readonly string[];
  }>;
}

/** The tool catalogs as undoing uses them. */
export interface UndoCatalogPort extends Pick<CatalogPort, 'resolve'> {
  /** One Undo. Its errors are those of `execute`. */
  undo(
    catalog: string,
    request: {
      readonly actionRecord: Uint8Array;
      readonly runGrant: string;
      readonly executionGrants: readonly string[];
      readonly timeoutMs: number;
    },
    signal: CancelSignal,
  ): Promise<ExecuteOutcome>;
}
