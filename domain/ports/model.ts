import type { AssistantBlock, Message, ModelStop, Usage } from '../conversation.ts';
import type { CancelSignal } from './signal.ts';

/** One tool as the model is told about it. `description` and `inputSchema` are prompt text, pinned by the agent. */
export interface ModelTool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Readonly<Record<string, unknown>>;
}

export interface ModelRequest {
  /** Exact model id as the provider names it. */
  readonly model: string;
  readonly system: string;
  readonly tools: readonly ModelTool[];
  readonly messages: readonly Message[];
  /** Hard cap on output tokens of this call; what the budget affords. */
  readonly maxOutputTokens: number;
  /** Turn number: callIds of proposed calls are `${turn}.${index}`, index counted from 0 in the model's order. */
  readonly turn: number;
  /** Opaque id sent to the provider as the request's user/idempotency metadata: never personal data. */
  readonly runId: string;
}

export interface ModelAnswer {
  readonly content: readonly AssistantBlock[];
  readonly stop: ModelStop;
  readonly usage: Usage;
  /** The model id the provider says answered. */
  readonly model: string;
  /** The provider's request id, for support cases. */
  readonly requestId: string | null;
}

/**
 * A model call that failed. Adapters throw StewardError (domain/errors.ts) with one of the `MODEL_*` codes; where the
 * provider counted tokens before the failure, `details.usage` carries what was seen so the attempt can be settled at
 * the counted upper bound, and `details.retryAfterMs` carries the provider's Retry-After.
 */
export interface ModelPort {
  /**
   * Streams one answer. `onText` gets text deltas in order and must return at once. `signal` aborts the HTTP stream.
   * No retries inside: Temporal retries the activity.
   */
  complete(request: ModelRequest, onText: (delta: string) => void, signal: CancelSignal): Promise<ModelAnswer>;
  /** An upper bound of the input tokens this request will be billed for, computed without I/O. */
  estimateInputTokens(request: ModelRequest): number;
}

/** How the models that an agent names have done in this turn. */
export interface ModelRoute {
  readonly primary: string;
  /** Of another provider; null where the agent names none. */
  readonly fallback: string | null;
  /** Errors of each in this turn that another provider might not have. */
  readonly errors: { readonly primary: number; readonly fallback: number };
}

/** The model to ask now. */
export interface ModelChoice {
  readonly model: string;
  /** Whose format it is asked in: thinking of any other is not sent. */
  readonly wire: string;
  /** Why it is not the primary: it failed too often in this turn, its provider is out, or there is no key for it. */
  readonly why: 'primary' | 'errors' | 'unavailable' | 'no_key';
}

/** Chooses between an agent's models. No I/O. */
export interface ModelChooser {
  choose(route: ModelRoute): ModelChoice;
}
