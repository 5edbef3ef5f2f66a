import type { Change } from '#gen/steward/common/v1/change_pb.ts';
import type { RunEvent } from '#gen/steward/run/v1/run_service_pb.ts';
import { EventReader } from './event-data.ts';
import type { Look } from './look.ts';
import { millis } from './time.ts';

/** What is known of a call beyond its events, which carry no arguments. `ToolCall` of the run service fits. */
export interface CallView {
  readonly callId: string;
  readonly tool: string;
  readonly argsJson: string;
  readonly preview?: Change | undefined;
}

/** What a live view of a run carries from event to event. */
export interface WatchState {
  readonly look: Look;
  readonly runId: string;
  /** Milliseconds since 1970; null until the first event tells it. Elapsed times count from it. */
  readonly startedAt: number | null;
  /** Micro-USD settled so far. */
  readonly spent: number;
  readonly calls: ReadonlyMap<string, CallView>;
  /** How the reader calls this command: `steward`, `npm run steward --`. */
  readonly command: string;
}

/** The state before the first event. */
export function firstState(
  runId: string,
  look: Look,
  known: { readonly startedAt?: number | null; readonly spent?: number; readonly command?: string } = {},
): WatchState {
  const { startedAt = null, spent = 0, command = 'steward' } = known;
  return { look, runId, startedAt, spent, calls: new Map(), command };
}

/** Takes an event over. Call it before rendering the event, so that the line shows the cost with it. */
export function nextState(state: WatchState, event: RunEvent): WatchState {
  const data = new EventReader(event.data);
  return {
    ...state,
    startedAt: state.startedAt ?? millis(event.time),
    spent: spentAfter(state.spent, event.kind, data),
  };
}

function spentAfter(spent: number, kind: string, data: EventReader): number {
  if (kind === 'turn.answered' || kind === 'context.shortened') return Math.max(spent, data.number('spent'));
  if (kind === 'turn.failed') return spent + data.number('cost');
  if (kind === 'run.closed') return data.number('cost');
  return spent;
}

/** Adds what is known of a call, for its arguments and preview. */
export function withCall(state: WatchState, call: CallView): WatchState {
  return { ...state, calls: new Map([...state.calls, [call.callId, call]]) };
}

/** True for events that are worth looking their call up first. */
export function wantsCall(event: RunEvent): boolean {
  return event.callId !== '' && ['tool.started', 'tool.denied', 'approval.asked'].includes(event.kind);
}
