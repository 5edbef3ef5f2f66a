/** A run: its states, its limits, and how close to them it is. Pure. */

export const RUN_STATUSES = [
  'pending',
  'queued',
  'running',
  'awaiting_approval',
  'paused',
  'completed',
  'failed',
  'cancelled',
  'budget_exceeded',
  'terminated',
] as const;

export type RunStatus = (typeof RUN_STATUSES)[number];

/** A run that has closed never changes again. A `budget_exceeded` run is open until its wait expires. */
export type ClosedStatus = 'completed' | 'failed' | 'cancelled' | 'budget_exceeded' | 'terminated';

/** Caps of one run. */
export interface RunLimits {
  readonly modelCalls: number;
  readonly toolCalls: number;
  readonly toolCallsPerTurn: number;
  /** Input, cache and output tokens of all model calls together. */
  readonly tokens: number;
  /** Time spent working, in milliseconds; waiting for people, budget or a slot does not count. */
  readonly activeMs: number;
}

/** The limits of an agent that names none. */
export const DEFAULT_LIMITS: RunLimits = {
  modelCalls: 20,
  toolCalls: 50,
  toolCallsPerTurn: 10,
  tokens: 2_000_000,
  activeMs: 3 * 60 * 60 * 1000,
};

/** $0.50: the budget of a run whose agent names none. */
export const DEFAULT_RUN_BUDGET_MICRO_USD = 500_000;

/** How long each kind of waiting lasts before it ends by itself, in milliseconds. */
export interface Waits {
  /** One approval. */
  readonly approvalMs: number;
  /** For more budget. */
  readonly budgetMs: number;
  /** Paused by a person. */
  readonly pauseMs: number;
}

const DAY = 24 * 60 * 60 * 1000;

export const DEFAULT_WAITS: Waits = { approvalMs: 7 * DAY, budgetMs: 7 * DAY, pauseMs: 30 * DAY };

/** The levels of the budget tree, from the narrowest to the widest: in this order they are locked. */
export const BUDGET_LEVELS = ['run', 'user_month', 'tenant_month', 'product_month'] as const;

export type BudgetLevel = (typeof BUDGET_LEVELS)[number];

/**
 * What a run's user and tenant pay where it does not complete. as_used: what it cost. refund_failed: nothing where it
 * failed, was terminated, or timed out. refund_unfinished: nothing, however it ended.
 */
export type ChargePolicy = 'as_used' | 'refund_failed' | 'refund_unfinished';

/** Whether a run that ended like this is given back to its user and tenant. */
export function isRefunded(policy: ChargePolicy, status: ClosedStatus): boolean {
  if (policy === 'as_used' || status === 'completed') return false;
  return policy === 'refund_unfinished' || status === 'failed' || status === 'terminated';
}

/** Why a run stopped before the model was done. Each limit has its own. */
export type StopReason =
  | 'limit.model_calls'
  | 'limit.tool_calls'
  | 'limit.tokens'
  | 'limit.active_time'
  | 'budget'
  | 'budget.overage'
  | 'budget.runaway'
  | 'stuck'
  | 'unknown_tool'
  | 'model.refusal'
  | 'model.length'
  | 'model.error'
  | 'pause_expired'
  | 'cancelled'
  | 'terminated'
  | 'timed_out'
  | 'internal';

/** What a person reads beside a stop reason. */
export const STOP_TEXT: Readonly<Record<StopReason, string>> = {
  'limit.model_calls': 'used all its model calls',
  'limit.tool_calls': 'used all its tool calls',
  'limit.tokens': 'used all its tokens',
  'limit.active_time': 'used all its active time',
  budget: 'its budget was spent and nobody raised it in time',
  'budget.runaway': 'cost 50 times what runs of its agent cost',
  'budget.overage': 'the provider billed more than was reserved',
  stuck: 'appears to be stuck: the same tool with the same arguments 5 times in a row',
  unknown_tool: 'asked twice for a tool it does not have',
  'model.refusal': 'the model declined to go on',
  'model.length': 'the model ran out of output tokens before it was done',
  'model.error': 'the model provider could not be used',
  pause_expired: 'was paused and nobody resumed it in time',
  cancelled: 'was cancelled',
  terminated: 'was terminated in Temporal',
  timed_out: 'timed out in Temporal',
  internal: 'failed inside Steward',
};

/** What a run has used so far. */
export interface RunUsage {
  readonly modelCalls: number;
  readonly toolCalls: number;
  readonly tokens: number;
  readonly activeMs: number;
}

/** The share of a limit at which a warning event is written. */
export const WARN_AT = 0.75;

/** A limit that is nearly used up. */
export interface LimitWarning {
  readonly limit: string;
  readonly used: number;
  readonly of: number;
}

/** The warning of a limit that was below 75 % and is not any more; none where it has not crossed that just now. */
export function crossed(limit: string, was: number, used: number, of: number): LimitWarning[] {
  return was < of * WARN_AT && used >= of * WARN_AT ? [{ limit, used, of }] : [];
}

/** Limits that were below 75 % before and are not any more. Budget is passed as `spent` of `budget`, in micro-USD. */
export function crossedWarnings(
  before: RunUsage & { readonly spent: number },
  after: RunUsage & { readonly spent: number },
  limits: RunLimits,
  budget: number,
): LimitWarning[] {
  return [
    ...crossed('model_calls', before.modelCalls, after.modelCalls, limits.modelCalls),
    ...crossed('tool_calls', before.toolCalls, after.toolCalls, limits.toolCalls),
    ...crossed('tokens', before.tokens, after.tokens, limits.tokens),
    ...crossed('active_time', before.activeMs, after.activeMs, limits.activeMs),
    ...crossed('budget', before.spent, after.spent, budget),
  ];
}

/** The lower of two limits, field by field. */
export function lowerLimits(a: RunLimits, b: RunLimits): RunLimits {
  return {
    modelCalls: Math.min(a.modelCalls, b.modelCalls),
    toolCalls: Math.min(a.toolCalls, b.toolCalls),
    toolCallsPerTurn: Math.min(a.toolCallsPerTurn, b.toolCallsPerTurn),
    tokens: Math.min(a.tokens, b.tokens),
    activeMs: Math.min(a.activeMs, b.activeMs),
  };
}

/** The lower of two limits, field by field; zero or absent means not narrowed. Never widens. */
export function narrowLimits(base: RunLimits, asked: Partial<RunLimits>): RunLimits {
  const low = (of: number, by: number | undefined): number => (by !== undefined && by > 0 ? Math.min(of, by) : of);
  return {
    modelCalls: low(base.modelCalls, asked.modelCalls),
    toolCalls: low(base.toolCalls, asked.toolCalls),
    toolCallsPerTurn: low(base.toolCallsPerTurn, asked.toolCallsPerTurn),
    tokens: low(base.tokens, asked.tokens),
    activeMs: low(base.activeMs, asked.activeMs),
  };
}
