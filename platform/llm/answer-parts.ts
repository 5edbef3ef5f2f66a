import type { AssistantBlock, ModelStop } from '#domain/conversation.ts';
import { StewardError } from '#domain/errors.ts';
import { DEEPEST_KEPT, isDeeperThan } from '#domain/json.ts';

/** Characters of malformed arguments that are kept. */
const MALFORMED_KEPT = 2_000;
/** Tokens that may have been billed but were on their way when a stream broke off. */
export const IN_FLIGHT_TOKENS = 64;

/** MODEL_BAD_ANSWER: the provider spoke, and not as its format says. */
export function badAnswer(what: string, cause?: unknown): StewardError {
  return new StewardError('MODEL_BAD_ANSWER', `The model sent ${what}. The call can be made again.`, { cause });
}

/** Throws MODEL_BAD_ANSWER where a finished answer has nothing in it, or calls that could not be told apart. */
export function requireSound(content: readonly AssistantBlock[], stop: ModelStop): void {
  const calls = content.flatMap((block) => (block.type === 'tool_call' ? [block.providerId] : []));
  const said = content.some(
    (block) => block.type === 'tool_call' || (block.type === 'text' && block.text.trim() !== ''),
  );
  if (!said && (stop === 'end_turn' || stop === 'tool_use')) throw badAnswer('an answer with nothing in it');
  if (stop === 'tool_use' && calls.length === 0) {
    throw badAnswer('an answer with a stop for tool calls and no tool call');
  }
  if (new Set(calls).size < calls.length) throw badAnswer('an answer with two tool calls of one id');
}

/** A call's arguments from the text they came as; `initial` where none came. What is no JSON object is kept as text. */
export function parseArguments(
  grown: string,
  initial: unknown,
): { args: Record<string, unknown> } | { args: null; malformed: string } {
  if (grown === '') return { args: isObject(initial) ? initial : {} };
  try {
    const value: unknown = JSON.parse(grown);
    if (isObject(value) && !isDeeperThan(value, DEEPEST_KEPT)) return { args: value };
  } catch {
    // Falls through: the raw text is what the caller reports.
  }
  return { args: null, malformed: grown.slice(0, MALFORMED_KEPT) };
}

/** An answer that was cut at its cap: a call that has no arguments in it may have been cut before them, and must not run. */
export function asFarAs(content: readonly AssistantBlock[], stop: ModelStop): AssistantBlock[] {
  if (stop !== 'length') return [...content];
  return content.map((block) =>
    block.type === 'tool_call' && block.args !== null && Object.keys(block.args).length === 0
      ? { ...block, args: null, malformed: '(the answer was cut off here)' }
      : block,
  );
}

/** The value where it is text, else none. */
export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
