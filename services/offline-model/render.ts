import type Anthropic from '@anthropic-ai/sdk';
import { digest, Prefixes, seal, sign, toolUseId } from './binding.ts';
import type { ScriptedAnswer } from './script.ts';
import { countTokens, type InputUsage, type Prompt } from './usage.ts';
import type { Request } from './wire.ts';

/** Characters of one piece of a stream. */
const PIECE = /.{1,24}/gsu;
const BYTES_PER_TOKEN = 4;

type StopReason = Anthropic.Messages.StopReason;
type Event = Anthropic.RawMessageStreamEvent;

/** A content block as the model wrote it; a tool call's arguments are text until someone parses them. */
export type Written =
  | { readonly type: 'thinking'; readonly thinking: string; readonly signature: string }
  | { readonly type: 'redacted_thinking'; readonly data: string }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly json: string };

/** An event of a stream; its type is also the name of the event. */
export interface StreamEvent {
  readonly type: string;
}

/** A scripted answer in a provider's format, whole and as the pieces of a stream. */
export interface Rendered {
  readonly message: object;
  /** What stands before the first piece. */
  readonly head: readonly StreamEvent[];
  readonly pieces: readonly StreamEvent[];
  /** What stands behind the last piece. */
  readonly tail: readonly StreamEvent[];
  /** A sign of life, as bytes of the stream. */
  readonly ping: string;
  /** The event that breaks the stream off with an error of this type. */
  failure(type: string): StreamEvent;
}

/** What a provider adds to what the model wrote. */
export interface Marks {
  /** The id of the answer's tool call of that index. */
  callId(index: number): string;
  sign(thinking: string): string;
  seal(thinking: string): string;
}

/**
 * Renders an answer, cut at the request's `max_tokens`. Ids and signatures come from the conversation alone, so the
 * same request is answered with the same bytes.
 */
export function render(request: Request, answer: ScriptedAnswer, prompt: Prompt, input: InputUsage): Rendered {
  const thought = answer.thinking !== undefined || answer.redactedThinking !== undefined;
  const prefix = thought ? new Prefixes(request).before(request.messages.length) : '';
  const key = digest(prompt.hash, request.metadata?.user_id ?? null);
  const { blocks, cut } = write(answer, request.max_tokens, {
    callId: (index) => toolUseId(key, index, thought ? prefix : null),
    sign: (thinking) => sign(prefix, thinking),
    seal: (thinking) => seal(prefix, thinking),
  });
  const stop: StopReason = cut ? 'max_tokens' : (answer.stop ?? (answer.calls?.length ? 'tool_use' : 'end_turn'));
  const thinkingTokens = sum(blocks.filter((block) => block.type.endsWith('thinking')));
  const usage: Anthropic.Usage = {
    ...input,
    cache_creation: {
      ephemeral_5m_input_tokens: input.cache_creation_input_tokens,
      ephemeral_1h_input_tokens: 0,
    },
    output_tokens: sum(blocks),
    output_tokens_details: { thinking_tokens: thinkingTokens },
    inference_geo: null,
    server_tool_use: null,
    service_tier: 'standard',
    speed: null,
  };
  const message: Anthropic.Message = {
    id: `msg_${key.slice(0, 24)}`,
    type: 'message',
    role: 'assistant',
    model: request.model,
    content: blocks.map(whole),
    stop_reason: stop,
    stop_sequence: null,
    stop_details:
      stop === 'refusal' ? { type: 'refusal', category: null, explanation: 'The script refuses this request.' } : null,
    container: null,
    diagnostics: null,
    usage,
  };
  const begun: Event = {
    type: 'message_start',
    message: {
      ...message,
      content: [],
      stop_reason: null,
      stop_details: null,
      usage: { ...usage, output_tokens: 1, output_tokens_details: null },
    },
  };
  const stopped: Event = {
    type: 'message_delta',
    delta: { stop_reason: stop, stop_sequence: null, stop_details: message.stop_details, container: null },
    usage,
  };
  return {
    message,
    head: [begun],
    pieces: blocks.flatMap(piecesOf),
    tail: [stopped, { type: 'message_stop' }],
    ping: eventText({ type: 'ping' }),
    failure: (type) =>
      ({ type: 'error', error: { type, message: 'The script breaks this answer off.' } }) as StreamEvent,
  };
}

/** One server-sent event. */
export function eventText(event: StreamEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** What of an answer fits into `maxTokens`, block by block. `cut`: not all of it does. */
export function write(
  answer: ScriptedAnswer,
  maxTokens: number,
  marks: Marks,
): { readonly blocks: readonly Written[]; readonly cut: boolean } {
  const blocks: Written[] = [];
  let left = maxTokens;
  let cut = false;
  /** As much of `text` as there are tokens left for; null once there are none. */
  const take = (text: string): string | null => {
    if (left === 0) cut = true;
    if (cut) return null;
    const needed = countTokens(text);
    cut = needed > left;
    const taken = cut
      ? Buffer.from(text)
          .subarray(0, left * BYTES_PER_TOKEN)
          .toString()
          .replace(/\uFFFD+$/, '')
      : text;
    left -= Math.min(left, needed);
    return taken;
  };
  const thinking = answer.thinking === undefined ? null : take(answer.thinking);
  if (thinking !== null) blocks.push({ type: 'thinking', thinking, signature: marks.sign(thinking) });
  const sealed = answer.redactedThinking === undefined ? null : take(answer.redactedThinking);
  if (sealed !== null) blocks.push({ type: 'redacted_thinking', data: marks.seal(sealed) });
  const text = answer.text === undefined ? null : take(answer.text);
  if (text !== null) blocks.push({ type: 'text', text });
  for (const [index, call] of (answer.calls ?? []).entries()) {
    const json = take(call.rawArgs ?? JSON.stringify(call.args ?? {}));
    if (json === null) break;
    blocks.push({ type: 'tool_use', id: marks.callId(index), name: call.tool, json });
  }
  return { blocks, cut };
}

/** Tokens of what was written. */
export function sum(blocks: readonly Written[]): number {
  return blocks.reduce((tokens, block) => tokens + countTokens(saidIn(block)), 0);
}

function saidIn(block: Written): string {
  switch (block.type) {
    case 'thinking':
      return block.thinking;
    case 'redacted_thinking':
      return block.data;
    case 'text':
      return block.text;
    case 'tool_use':
      return block.json;
  }
}

function whole(block: Written): Anthropic.ContentBlock {
  if (block.type === 'text') return { ...block, citations: null };
  if (block.type !== 'tool_use') return block;
  return { type: 'tool_use', id: block.id, name: block.name, input: parsed(block.json), caller: { type: 'direct' } };
}

/** Arguments that are no JSON stay text: the API's answer for them outside a stream is not specified. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}

function piecesOf(block: Written, index: number): readonly Event[] {
  const start = (content_block: Anthropic.RawContentBlockStartEvent['content_block']): Event => ({
    type: 'content_block_start',
    index,
    content_block,
  });
  const delta = (piece: Anthropic.RawContentBlockDelta): Event => ({
    type: 'content_block_delta',
    index,
    delta: piece,
  });
  const stop: Event = { type: 'content_block_stop', index };
  switch (block.type) {
    case 'thinking':
      return [
        start({ type: 'thinking', thinking: '', signature: '' }),
        ...split(block.thinking).map((thinking) => delta({ type: 'thinking_delta', thinking })),
        delta({ type: 'signature_delta', signature: block.signature }),
        stop,
      ];
    case 'redacted_thinking':
      return [start(block), stop];
    case 'text':
      return [
        start({ type: 'text', text: '', citations: null }),
        ...split(block.text).map((text) => delta({ type: 'text_delta', text })),
        stop,
      ];
    case 'tool_use':
      return [
        start({ type: 'tool_use', id: block.id, name: block.name, input: {}, caller: { type: 'direct' } }),
        ...['', ...split(block.json)].map((partial_json) => delta({ type: 'input_json_delta', partial_json })),
        stop,
      ];
  }
}

/** Text in the pieces it is streamed in. */
export function split(text: string): readonly string[] {
  return text.match(PIECE) ?? [];
}
