import { z } from 'zod';
import type { AssistantBlock, ModelStop, Usage } from '#domain/conversation.ts';
import type { StewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelRequest } from '#domain/ports/model.ts';
import { asFarAs, badAnswer, IN_FLIGHT_TOKENS, parseArguments, requireSound, text } from './answer-parts.ts';
import { inputTokenUpperBound, PROVIDER } from './anthropic-request.ts';
import { tokenUpperBound } from './tokens.ts';

/** A missing, negative or absurd count is none: the caller then settles at an upper bound of its own. */
const count = z.int().min(0).max(1e9).nullish().catch(null);
const usageSchema = z.object({
  input_tokens: count,
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_creation_input_tokens: count,
  output_tokens_details: z.object({ thinking_tokens: count }).nullish().catch(null),
});
const index = z.int().min(0);
const eventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('message_start'), message: z.object({ model: z.string(), usage: usageSchema }) }),
  z.object({ type: z.literal('content_block_start'), index, content_block: z.looseObject({ type: z.string() }) }),
  z.object({ type: z.literal('content_block_delta'), index, delta: z.looseObject({ type: z.string() }) }),
  z.object({ type: z.literal('content_block_stop'), index }),
  z.object({
    type: z.literal('message_delta'),
    delta: z.object({ stop_reason: z.string().nullish() }),
    usage: usageSchema.nullish(),
  }),
  z.object({ type: z.literal('message_stop') }),
]);
type StreamEvent = z.infer<typeof eventSchema>;
const EVENTS: ReadonlySet<unknown> = new Set(eventSchema.options.map((option) => option.shape.type.value));

/** One content block as it grows. `raw` is what the provider sent, kept whole for thinking. */
interface Growing {
  readonly raw: Record<string, unknown>;
  readonly pieces: string[];
}

/**
 * Builds one answer from the raw events of a stream. The SDK's own accumulation parses tool arguments on the way and
 * throws away what is no JSON; here they stay text until their block is complete.
 */
export class AnswerReader {
  complete = false;
  readonly #request: ModelRequest;
  readonly #onText: (delta: string) => void;
  readonly #blocks = new Map<number, Growing>();
  readonly #counts: Partial<Record<keyof Usage, number>> = {};
  #model: string | null = null;
  #stop: string | null = null;
  #outputIsFinal = false;

  constructor(request: ModelRequest, onText: (delta: string) => void) {
    this.#request = request;
    this.#onText = onText;
  }

  /** Takes the data of one event. Throws MODEL_BAD_ANSWER where it is not what the format says. */
  take(data: string): void {
    const event = parseEvent(data);
    if (event === null) return;
    switch (event.type) {
      case 'message_start':
        this.#model = event.message.model;
        this.#count(event.message.usage, false);
        break;
      case 'content_block_start':
        this.#start(event.index, event.content_block);
        break;
      case 'content_block_delta':
        this.#grow(event.index, event.delta);
        break;
      case 'content_block_stop':
        break;
      case 'message_delta':
        this.#stop = event.delta.stop_reason ?? this.#stop;
        if (event.usage) this.#count(event.usage, true);
        break;
      case 'message_stop':
        this.complete = true;
        break;
      default:
        event satisfies never;
    }
  }

  /** Whether the provider has begun to count: before that, nothing is known of what it will bill. */
  get counted(): boolean {
    return this.#model !== null;
  }

  /** What the provider counted, and where it has not come to count, an upper bound. */
  usage(): Usage {
    return {
      input: this.#counts.input ?? inputTokenUpperBound(this.#request),
      output: this.#outputIsFinal ? (this.#counts.output ?? this.#outputBound()) : this.#outputBound(),
      cacheRead: this.#counts.cacheRead ?? 0,
      cacheWrite: this.#counts.cacheWrite ?? 0,
      reasoning: this.#counts.reasoning ?? 0,
    };
  }

  /** The finished answer. Throws MODEL_BAD_ANSWER where there is nothing in it. */
  answer(requestId: string | null): ModelAnswer {
    const stop = this.#stopOf();
    const all = this.#content();
    // Nothing of a refused answer may run.
    const content = stop === 'refusal' ? all.filter((block) => block.type === 'text') : asFarAs(all, stop);
    requireSound(content, stop);
    return { content, stop, usage: this.usage(), model: this.#model ?? this.#request.model, requestId };
  }

  #start(at: number, raw: Record<string, unknown>): void {
    const initial = raw.type === 'text' ? text(raw.text) : '';
    this.#blocks.set(at, { raw: { ...raw }, pieces: initial === '' ? [] : [initial] });
    if (initial !== '') this.#onText(initial);
  }

  #grow(at: number, delta: Record<string, unknown>): void {
    const block = this.#blocks.get(at);
    if (block === undefined) throw this.#bad('a piece of a content block that was never begun');
    switch (delta.type) {
      case 'text_delta':
        block.pieces.push(text(delta.text));
        this.#onText(text(delta.text));
        break;
      case 'input_json_delta':
        block.pieces.push(text(delta.partial_json));
        break;
      case 'thinking_delta':
        block.raw.thinking = text(block.raw.thinking) + text(delta.thinking);
        break;
      case 'signature_delta':
        block.raw.signature = text(delta.signature);
        break;
      default:
        break;
    }
  }

  #count(usage: z.infer<typeof usageSchema>, final: boolean): void {
    const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens } = usage;
    if (typeof input_tokens === 'number') this.#counts.input = input_tokens;
    if (typeof output_tokens === 'number') this.#counts.output = output_tokens;
    if (typeof cache_read_input_tokens === 'number') this.#counts.cacheRead = cache_read_input_tokens;
    if (typeof cache_creation_input_tokens === 'number') this.#counts.cacheWrite = cache_creation_input_tokens;
    const reasoning = usage.output_tokens_details?.thinking_tokens;
    if (typeof reasoning === 'number') this.#counts.reasoning = reasoning;
    // A last count that does not say how much was written leaves what the first one guessed.
    this.#outputIsFinal = final && typeof output_tokens === 'number';
  }

  /** What was received says nothing of thinking: providers bill it whole and show a summary or nothing of it. */
  #outputBound(): number {
    const cap = this.#request.maxOutputTokens;
    let bound = IN_FLIGHT_TOKENS + (this.#counts.output ?? 0);
    for (const { raw, pieces } of this.#blocks.values()) {
      if (raw.type !== 'text' && raw.type !== 'tool_use') return cap;
      bound += tokenUpperBound(pieces.join('')) + tokenUpperBound(text(raw.name));
    }
    return Math.min(cap, bound);
  }

  #content(): AssistantBlock[] {
    const content: AssistantBlock[] = [];
    let calls = 0;
    for (const [, { raw, pieces }] of [...this.#blocks].sort(([a], [b]) => a - b)) {
      const grown = pieces.join('');
      if (raw.type === 'text') {
        content.push({ type: 'text', text: grown });
      } else if (raw.type === 'thinking' || raw.type === 'redacted_thinking') {
        content.push({ type: 'thinking', provider: PROVIDER, data: raw });
      } else if (raw.type === 'tool_use') {
        content.push({
          type: 'tool_call',
          callId: `${this.#request.turn}.${calls}`,
          providerId: text(raw.id),
          tool: text(raw.name),
          ...parseArguments(grown, raw.input),
        });
        calls += 1;
      }
    }
    return content;
  }

  #stopOf(): ModelStop {
    switch (this.#stop) {
      case 'refusal':
        return 'refusal';
      case 'max_tokens':
      case 'model_context_window_exceeded':
      // A pause asks to be continued and comes of the provider's own tools only, which are not offered: an unfinished
      // answer, as one that was cut at its cap is.
      case 'pause_turn':
        return 'length';
      case 'tool_use':
        return 'tool_use';
      default:
        return [...this.#blocks.values()].some(({ raw }) => raw.type === 'tool_use') ? 'tool_use' : 'end_turn';
    }
  }

  #bad(what: string): StewardError {
    return badAnswer(`an answer with ${what}`);
  }
}

function parseEvent(data: string): StreamEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (error) {
    throw badAnswer('an event that is no JSON', error);
  }
  // The format may grow; events it did not have are passed over.
  if (!EVENTS.has((value as { type?: unknown } | null)?.type)) return null;
  const parsed = eventSchema.safeParse(value);
  if (!parsed.success) throw badAnswer('an event of the wrong shape', parsed.error);
  return parsed.data;
}
