import { z } from 'zod';
import type { AssistantBlock, ModelStop, Usage } from '#domain/conversation.ts';
import type { ModelAnswer, ModelRequest } from '#domain/ports/model.ts';
import { asFarAs, badAnswer, IN_FLIGHT_TOKENS, parseArguments, requireSound, text } from './answer-parts.ts';
import { inputTokenUpperBound, PROVIDER } from './openai-request.ts';
import { tokenUpperBound } from './tokens.ts';

/** A missing, negative or absurd count is none: the caller then settles at an upper bound of its own. */
const count = z.int().min(0).max(1e9).nullish().catch(null);
const details = <Shape extends z.ZodRawShape>(shape: Shape) => z.object(shape).nullish().catch(null);
const usageSchema = z.object({
  input_tokens: count,
  output_tokens: count,
  input_tokens_details: details({ cached_tokens: count, cache_write_tokens: count }),
  output_tokens_details: details({ reasoning_tokens: count }),
});
const responseSchema = z.object({
  model: z.string(),
  incomplete_details: z.object({ reason: z.string().nullish() }).nullish(),
  error: z.object({ code: z.string().nullish(), message: z.string().nullish() }).nullish(),
  usage: usageSchema.nullish().catch(null),
});
const at = z.int().min(0);
const item = z.looseObject({ type: z.string() });
const whole = <Type extends string>(type: Type) => z.object({ type: z.literal(type), response: responseSchema });
const piece = <Type extends string>(type: Type) =>
  z.object({ type: z.literal(type), output_index: at, delta: z.string() });
const eventSchema = z.discriminatedUnion('type', [
  whole('response.created'),
  whole('response.completed'),
  whole('response.incomplete'),
  whole('response.failed'),
  z.object({ type: z.literal('response.output_item.added'), output_index: at, item }),
  z.object({ type: z.literal('response.output_item.done'), output_index: at, item }),
  piece('response.output_text.delta'),
  piece('response.refusal.delta'),
  piece('response.function_call_arguments.delta'),
  z.object({ type: z.literal('error'), code: z.string().nullish(), message: z.string().nullish() }),
]);
type StreamEvent = z.infer<typeof eventSchema>;
const EVENTS: ReadonlySet<unknown> = new Set(eventSchema.options.map((option) => option.shape.type.value));

/** One output item as it grows. `raw` is what the provider sent last of it, kept whole for reasoning. */
interface Growing {
  raw: Record<string, unknown>;
  readonly pieces: string[];
  refused: boolean;
}

/** Builds one answer from the events of a stream of OpenAI's Responses. */
export class OpenAiAnswerReader {
  complete = false;
  readonly #request: ModelRequest;
  readonly #onText: (delta: string) => void;
  readonly #items = new Map<number, Growing>();
  #usage: z.infer<typeof usageSchema> | null = null;
  #model: string | null = null;
  #incomplete: string | null = null;

  constructor(request: ModelRequest, onText: (delta: string) => void) {
    this.#request = request;
    this.#onText = onText;
  }

  /** Takes one event. Throws MODEL_BAD_ANSWER where it is not what the format says, and a failure the stream tells of. */
  take(value: unknown): void {
    const event = parseEvent(value);
    if (event === null) return;
    switch (event.type) {
      case 'response.created':
        this.#model = event.response.model;
        break;
      case 'response.completed':
      case 'response.incomplete':
        this.#end(event.response);
        if (event.type === 'response.incomplete') {
          this.#incomplete = event.response.incomplete_details?.reason ?? 'unknown';
        }
        this.complete = true;
        break;
      case 'response.failed':
        this.#end(event.response);
        throw toldFailure(event.response.error?.code, event.response.error?.message);
      case 'response.output_item.added':
        this.#items.set(event.output_index, { raw: event.item, pieces: [], refused: false });
        break;
      case 'response.output_item.done':
        this.#close(event.output_index, event.item);
        break;
      case 'response.output_text.delta':
        this.#grown(event.output_index).pieces.push(event.delta);
        this.#onText(event.delta);
        break;
      case 'response.refusal.delta':
        this.#grown(event.output_index).refused = true;
        break;
      case 'response.function_call_arguments.delta':
        this.#grown(event.output_index).pieces.push(event.delta);
        break;
      case 'error':
        throw toldFailure(event.code, event.message);
      default:
        event satisfies never;
    }
  }

  /** Whether the provider has begun to count: before that, nothing is known of what it will bill. */
  get counted(): boolean {
    return this.#model !== null;
  }

  /** What the provider counted, and where it has not come to count, an upper bound. Its totals, taken apart. */
  usage(): Usage {
    const prompt = this.#usage?.input_tokens ?? inputTokenUpperBound(this.#request);
    const cacheRead = Math.min(this.#usage?.input_tokens_details?.cached_tokens ?? 0, prompt);
    const cacheWrite = Math.min(this.#usage?.input_tokens_details?.cache_write_tokens ?? 0, prompt - cacheRead);
    return {
      input: prompt - cacheRead - cacheWrite,
      output: this.#usage?.output_tokens ?? this.#outputBound(),
      cacheRead,
      cacheWrite,
      reasoning: this.#usage?.output_tokens_details?.reasoning_tokens ?? 0,
    };
  }

  /** The finished answer. Throws MODEL_BAD_ANSWER where there is nothing in it. */
  answer(requestId: string | null): ModelAnswer {
    const all = this.#content();
    const stop = this.#stopOf(all);
    // Nothing of a refused answer may run.
    const content = stop === 'refusal' ? all.filter((block) => block.type === 'text') : asFarAs(all, stop);
    requireSound(content, stop);
    return { content, stop, usage: this.usage(), model: this.#model ?? this.#request.model, requestId };
  }

  #end(response: z.infer<typeof responseSchema>): void {
    this.#model = response.model;
    this.#usage = response.usage ?? null;
  }

  #grown(index: number): Growing {
    const growing = this.#items.get(index);
    if (growing === undefined) throw badAnswer('an answer with a piece of an item that was never begun');
    return growing;
  }

  /** Servers differ in what they send in pieces: what did not come so is taken from the finished item. */
  #close(index: number, raw: Record<string, unknown>): void {
    const growing = this.#items.get(index) ?? { raw, pieces: [], refused: false };
    this.#items.set(index, growing);
    growing.raw = raw;
    for (const part of Array.isArray(raw.content) ? (raw.content as Record<string, unknown>[]) : []) {
      if (part?.type === 'refusal') growing.refused = true;
    }
    if (growing.pieces.length > 0) return;
    if (raw.type === 'function_call') growing.pieces.push(text(raw.arguments));
    if (raw.type !== 'message' || !Array.isArray(raw.content)) return;
    for (const part of raw.content as Record<string, unknown>[]) {
      if (part?.type !== 'output_text' || text(part.text) === '') continue;
      growing.pieces.push(text(part.text));
      this.#onText(text(part.text));
    }
  }

  /** Reasoning is billed and not shown; before an item of the answer itself has begun, it may be under way. */
  #outputBound(): number {
    const cap = this.#request.maxOutputTokens;
    if (this.#items.size === 0) return cap;
    let bound = IN_FLIGHT_TOKENS;
    for (const { raw, pieces } of this.#items.values()) {
      if (raw.type !== 'message' && raw.type !== 'function_call') return cap;
      bound += tokenUpperBound(pieces.join('')) + tokenUpperBound(text(raw.name));
    }
    return Math.min(cap, bound);
  }

  #content(): AssistantBlock[] {
    const content: AssistantBlock[] = [];
    let calls = 0;
    // Counted for the whole answer: all of it stands with the first block.
    let reasoned = this.#usage?.output_tokens_details?.reasoning_tokens;
    for (const [, { raw, pieces }] of [...this.#items].sort(([a], [b]) => a - b)) {
      const grown = pieces.join('');
      if (raw.type === 'message') {
        if (grown !== '') content.push({ type: 'text', text: grown, ...phaseOf(raw) });
      } else if (raw.type === 'reasoning') {
        const { status: _, ...data } = raw;
        content.push({
          type: 'thinking',
          provider: PROVIDER,
          data,
          ...(typeof reasoned === 'number' ? { tokens: reasoned } : {}),
        });
        if (typeof reasoned === 'number') reasoned = 0;
      } else if (raw.type === 'function_call') {
        content.push({
          type: 'tool_call',
          callId: `${this.#request.turn}.${calls}`,
          providerId: text(raw.call_id),
          tool: text(raw.name),
          ...parseArguments(grown, {}),
        });
        calls += 1;
      }
    }
    return content;
  }

  #stopOf(content: readonly AssistantBlock[]): ModelStop {
    if (this.#incomplete === 'content_filter' || [...this.#items.values()].some((one) => one.refused)) return 'refusal';
    if (this.#incomplete !== null) return 'length';
    return content.some((block) => block.type === 'tool_call') ? 'tool_use' : 'end_turn';
  }
}

function phaseOf(raw: Record<string, unknown>): { phase?: string } {
  return typeof raw.phase === 'string' ? { phase: raw.phase } : {};
}

/** A failure within a stream has no status any more; it is told by its code. */
function toldFailure(code: string | null | undefined, message: string | null | undefined): unknown {
  return { type: code ?? 'server_error', code: code ?? null, apiMessage: message ?? null };
}

function parseEvent(value: unknown): StreamEvent | null {
  // The format has many more events, and may grow; those that are not needed are passed over.
  if (!EVENTS.has((value as { type?: unknown } | null)?.type)) return null;
  const parsed = eventSchema.safeParse(value);
  if (!parsed.success) throw badAnswer('an event of the wrong shape', parsed.error);
  return parsed.data;
}
