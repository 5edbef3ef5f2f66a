import type { JudgedCall, ThinkResult } from './ports/run-activities.ts';
import type { BudgetLevel, RunLimits, StopReason } from './run.ts';
import type { RunCarry } from './run-workflow.ts';

/** The last call's signature and how often it came in a row. */
export interface LoopWindow {
  readonly sig: string;
  readonly count: number;
}

/** So often the same tool with the same arguments in a row, and the run appears to be stuck. */
export const STUCK_AFTER = 5;
/** So many calls of tools the run does not have, and it ends. */
export const UNKNOWN_TOOLS_ALLOWED = 1;

/** What the run workflow remembers between turns: ids and counters only. */
export interface RunState {
  readonly turn: number;
  readonly modelCalls: number;
  readonly toolCalls: number;
  readonly tokens: number;
  readonly costMicroUsd: number;
  readonly loop: LoopWindow;
  readonly unknownTools: number;
  readonly toolsUsed: readonly string[];
}

export const FIRST_STATE: RunState = {
  turn: 0,
  modelCalls: 0,
  toolCalls: 0,
  tokens: 0,
  costMicroUsd: 0,
  loop: { sig: '', count: 0 },
  unknownTools: 0,
  toolsUsed: [],
};

/** What the workflow does next. */
export type Next =
  | { readonly do: 'think'; readonly turn: number }
  | { readonly do: 'act'; readonly calls: readonly JudgedCall[]; readonly thenStop: StopReason | null }
  | { readonly do: 'await_budget'; readonly level: BudgetLevel; readonly needMicroUsd: number }
  | { readonly do: 'await_resume' }
  | { readonly do: 'finish' }
  | { readonly do: 'stop'; readonly reason: StopReason; readonly message?: string };

/** Before a model call: is there one left? Tokens are checked after each answer, so at most one call exceeds them. */
export function nextTurn(state: RunState, limits: RunLimits): Next {
  if (state.modelCalls >= limits.modelCalls) return { do: 'stop', reason: 'limit.model_calls' };
  if (state.tokens >= limits.tokens) return { do: 'stop', reason: 'limit.tokens' };
  return { do: 'think', turn: state.turn + 1 };
}

/** Takes over what the model proposed and how it was judged, and says what follows. */
export function afterThink(state: RunState, result: ThinkResult): { readonly state: RunState; readonly next: Next } {
  if (result.kind === 'budget') {
    return { state, next: { do: 'await_budget', level: result.level, needMicroUsd: result.needMicroUsd } };
  }
  if (result.kind === 'paused') return { state, next: { do: 'await_resume' } };
  const counted: RunState = {
    ...state,
    turn: state.turn + 1,
    modelCalls: state.modelCalls + 1 + (result.summaries ?? 0),
    tokens: state.tokens + result.tokens,
    costMicroUsd: state.costMicroUsd + result.costMicroUsd,
  };
  switch (result.kind) {
    case 'final':
      return { state: counted, next: { do: 'finish' } };
    case 'stop':
      return { state: counted, next: { do: 'stop', reason: result.reason, message: result.message } };
    case 'calls':
      return afterCalls(counted, result.calls);
  }
}

function afterCalls(state: RunState, calls: readonly JudgedCall[]): { readonly state: RunState; readonly next: Next } {
  const { window, stuckAt } = runLoop(state.loop, calls);
  const unknownTools = state.unknownTools + calls.filter((call) => call.code === 'TOOL_UNKNOWN').length;
  const admitted = calls.filter((call) => call.verdict !== 'deny');
  const overLimit = calls.some((call) => call.code === 'LIMIT_REACHED');
  const next: RunState = {
    ...state,
    loop: window,
    unknownTools,
    toolCalls: state.toolCalls + admitted.length,
    toolsUsed: merge(state.toolsUsed, admitted),
  };
  if (stuckAt !== null) return { state: next, next: { do: 'stop', reason: 'stuck' } };
  if (unknownTools > UNKNOWN_TOOLS_ALLOWED) return { state: next, next: { do: 'stop', reason: 'unknown_tool' } };
  return { state: next, next: { do: 'act', calls: admitted, thenStop: overLimit ? 'limit.tool_calls' : null } };
}

/** Runs the loop window over a turn's calls. `stuckAt`: index of the call that makes the run stuck, or null. */
export function runLoop(
  window: LoopWindow,
  calls: readonly Pick<JudgedCall, 'sig'>[],
): { readonly window: LoopWindow; readonly stuckAt: number | null } {
  let current = window;
  for (const [index, call] of calls.entries()) {
    current = call.sig === current.sig ? { sig: call.sig, count: current.count + 1 } : { sig: call.sig, count: 1 };
    if (current.count >= STUCK_AFTER) return { window: current, stuckAt: index };
  }
  return { window: current, stuckAt: null };
}

/**
 * For each call the earlier calls of its turn it must wait for: those that share a resource key, where one of the two
 * has an effect. Calls that wait for nobody run side by side.
 */
export function waitsFor(calls: readonly JudgedCall[]): ReadonlyMap<string, readonly string[]> {
  return new Map(
    calls.map((call, index) => [
      call.id,
      calls
        .slice(0, index)
        .filter((earlier) => (earlier.effect || call.effect) && shareKey(earlier.keys, call.keys))
        .map((earlier) => earlier.id),
    ]),
  );
}

function shareKey(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return a !== undefined && b !== undefined && a.some((key) => b.includes(key));
}

/** Tools by first use, at most 50: what Temporal's search attribute holds. */
function merge(used: readonly string[], calls: readonly JudgedCall[]): readonly string[] {
  return [...new Set([...used, ...calls.map((call) => call.tool)])].slice(0, 50);
}

/** The state as it travels through continue-as-new, and back. */
export function toCarry(
  state: RunState,
  extra: Pick<RunCarry, 'activeMs' | 'badSignals' | 'paused' | 'budgetUntil'>,
): RunCarry {
  return { ...state, ...extra };
}

export function fromCarry(carry: RunCarry | undefined): RunState {
  if (!carry) return FIRST_STATE;
  const { turn, modelCalls, toolCalls, tokens, costMicroUsd, loop, unknownTools, toolsUsed } = carry;
  return { turn, modelCalls, toolCalls, tokens, costMicroUsd, loop, unknownTools, toolsUsed };
}
