/**
 * The conversation of a run in Steward's own, provider-neutral form. Adapters in `platform/llm` translate it to a
 * provider's wire format and back. Every value is plain JSON.
 */

/** Text written by a person or by the model. */
export interface TextBlock {
  readonly type: 'text';
  readonly text: string;
  /** What OpenAI calls the text, `commentary` or `final_answer`, and wants back with it. Other providers drop it. */
  readonly phase?: string;
}

/**
 * The model's thinking, kept byte for byte because the provider demands it back while a tool loop is open.
 * `provider` names whose format `data` is; another provider's adapter drops the block.
 */
export interface ThinkingBlock {
  readonly type: 'thinking';
  readonly provider: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** What the provider counted for it, where `data` is sealed and its length says nothing. */
  readonly tokens?: number;
}

/** One tool call as the model proposed it. */
export interface ToolCallBlock {
  readonly type: 'tool_call';
  /** Steward's own id of the call, `turn.index`. */
  readonly callId: string;
  /** The provider's id: wire data only, never a key of ours. */
  readonly providerId: string;
  readonly tool: string;
  /** The proposed arguments; null when they were no JSON object, in which case `malformed` holds the raw text. */
  readonly args: Readonly<Record<string, unknown>> | null;
  /** The raw text (at most 2,000 characters of it) of arguments that are no JSON object. */
  readonly malformed?: string;
}

/** What a tool call came to, as shown to the model. */
export interface ToolResultBlock {
  readonly type: 'tool_result';
  readonly callId: string;
  readonly providerId: string;
  readonly text: string;
  readonly isError: boolean;
}

/** One message. Tool results of one turn stand together in one user message, in call order. */
export type Message =
  | { readonly role: 'user'; readonly content: readonly (TextBlock | ToolResultBlock)[] }
  | { readonly role: 'assistant'; readonly content: readonly (TextBlock | ThinkingBlock | ToolCallBlock)[] };

export type AssistantBlock = TextBlock | ThinkingBlock | ToolCallBlock;

/** Why the model stopped talking. `refusal`: the provider or model declined; `length`: the output cap was reached. */
export type ModelStop = 'end_turn' | 'tool_use' | 'length' | 'refusal';

/** The provider's raw usage fields, never summed: each has its own price. Counts of tokens; `reasoning` is within `output`. */
export interface Usage {
  readonly input: number;
  readonly output: number;
  readonly cacheRead: number;
  readonly cacheWrite: number;
  readonly reasoning: number;
}
