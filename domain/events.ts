import type { RunStatus, StopReason } from './run.ts';
import type { Change } from './tools.ts';

/**
 * The journal of a run: what every screen and stream reads. Each kind with what it says; money in micro-USD, times in
 * milliseconds since 1970. Kinds and fields are added, never renamed.
 */
export interface EventData {
  'run.created': {
    readonly agent: string;
    readonly agentHash: string;
    readonly actingUser: string;
    readonly startedBy: string;
    /** The run whose conversation it goes on with. */
    readonly continues?: string;
  };
  'run.queued': { readonly reason: string; readonly until: number };
  'run.started': { readonly model: string };
  'run.cancelling': { readonly by: string; readonly reason: string };
  'run.paused': { readonly by: string; readonly reason: string; readonly until: number };
  /** The run goes on otherwise than its agent's runs do, and is paused for it. `what`: one line per rule. */
  'run.anomaly': { readonly kinds: readonly string[]; readonly what: readonly string[] };
  'run.resumed': { readonly by: string };
  /** Somebody says something to the run. It is the nth message of the run, from 1. */
  'message.received': { readonly message: number; readonly by: string; readonly text: string };
  /** A model call was reserved for and begins. `messages`: those that it is the first to read. */
  'turn.started': {
    readonly model: string;
    readonly attempt: number;
    readonly reserved: number;
    readonly messages?: readonly number[];
  };
  /**
   * What the model is shown of its conversation was shortened, up to a step (counted on through all its runs). `results`:
   * long results are left out; `summary`: a model summed it up, for `cost`; `dropped`: it is left out.
   */
  'context.shortened': {
    readonly how: 'results' | 'summary' | 'dropped';
    readonly through: number;
    readonly model?: string;
    readonly cost?: number;
    readonly spent?: number;
  };
  /**
   * From this call on another model is asked than before. `why`: errors, unavailable, no_key, or recovered on the way
   * back. `thinkingDropped`: blocks of thinking in the conversation that this model is not sent.
   */
  'model.switched': {
    readonly from: string;
    readonly to: string;
    readonly why: string;
    readonly errors: number;
    readonly thinkingDropped: number;
  };
  /** The model's message is stored. `calls`: what it proposes. */
  'turn.answered': {
    readonly model: string;
    readonly cost: number;
    readonly spent: number;
    readonly text: string;
    readonly calls: readonly { readonly id: string; readonly tool: string }[];
  };
  /** A model call that failed; Temporal runs it again where `retrying`. */
  'turn.failed': {
    readonly code: string;
    readonly model?: string;
    readonly message: string;
    readonly cost: number;
    readonly retrying: boolean;
  };
  'limit.warning': { readonly limit: string; readonly used: number; readonly of: number };
  /** alarm: level, runaway, runaway_stopped. step: percent of the limit, or times what is usual. */
  'budget.alarm': {
    readonly alarm: string;
    readonly step: number;
    readonly settled: number;
    readonly limit?: number;
    readonly typical?: number;
  };
  /** The model call waits: its user calls models far more often than others do. */
  'turn.throttled': { readonly calls: number; readonly p99: number; readonly until: number };
  'budget.exhausted': { readonly level: string; readonly need: number; readonly until: number };
  'budget.raised': { readonly by: string; readonly add: number; readonly limit: number; readonly reason: string };
  'tool.denied': { readonly tool: string; readonly code: string; readonly reason: string };
  'approval.asked': {
    readonly approval: string;
    readonly tool: string;
    readonly tier: number;
    readonly why: readonly string[];
    readonly digest: string;
    readonly expiresAt: number;
    readonly summary: string;
  };
  'approval.decided': {
    readonly approval: string;
    readonly answer: string;
    readonly by: string;
    readonly reason: string;
  };
  'approval.expired': { readonly approval: string };
  'approval.refused': { readonly approval: string; readonly code: string };
  'tool.started': {
    readonly tool: string;
    readonly catalog: string;
    readonly attempt: number;
    readonly approvedBy: string;
  };
  'tool.done': {
    readonly tool: string;
    readonly change: Change | null;
    readonly undoable: boolean;
    readonly repeated: boolean;
  };
  'tool.refused': { readonly tool: string; readonly code: string; readonly message: string };
  'tool.failed': { readonly tool: string; readonly code: string; readonly message: string };
  'tool.outcome_unknown': { readonly tool: string; readonly message: string };
  'run.closed': {
    readonly status: RunStatus;
    readonly reason: StopReason | null;
    readonly message: string;
    readonly cost: number;
    /** Of the cost, what its user and its tenant got back. */
    readonly refunded?: number;
    readonly outcome: string;
    /** Messages that the run has never read. */
    readonly unread?: readonly { readonly message: number; readonly by: string; readonly text: string }[];
  };
  // What follows stands after `run.closed`. `undo`: the id of the undo; `calls`: effects that are to be undone.
  'undo.requested': { readonly undo: string; readonly by: string; readonly reason: string; readonly calls: number };
  'undo.done': {
    readonly undo: string;
    readonly tool: string;
    readonly change: Change | null;
    readonly repeated: boolean;
  };
  'undo.refused': { readonly undo: string; readonly tool: string; readonly code: string; readonly message: string };
  'undo.unknown': { readonly undo: string; readonly tool: string; readonly message: string };
}

export type EventKind = keyof EventData;
