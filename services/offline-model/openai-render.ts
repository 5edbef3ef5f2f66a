import type OpenAI from 'openai';
import { digest } from './binding.ts';
import { sealed } from './openai-items.ts';
import { type Rendered, type StreamEvent, split, sum, type Written, write } from './render.ts';
import type { ScriptedAnswer } from './script.ts';
import type { InputUsage, Prompt } from './usage.ts';
import type { Request } from './wire.ts';

type Item = OpenAI.Responses.ResponseOutputItem;
/** An event without its number: those are given once the stream is put together. */
type Event = StreamEvent & Record<string, unknown>;

/** Renders an answer in OpenAI's format, cut at the request's cap. The same request is answered with the same bytes. */
export function render(request: Request, answer: ScriptedAnswer, prompt: Prompt, input: InputUsage): Rendered {
  const key = digest('openai', prompt.hash, request.metadata?.user_id ?? null);
  const { blocks, cut } = write(answer, request.max_tokens, {
    callId: (index) => `call_${digest(key, 'call', index).slice(0, 24)}`,
    sign: sealed,
    seal: sealed,
  });
  const refused = answer.stop === 'refusal';
  const items = blocks.map((block, at) => itemOf(block, `${digest(key, 'item', at).slice(0, 24)}`));
  if (refused) items.push(refusal(digest(key, 'refusal').slice(0, 24)));
  const why = cut || answer.stop === 'max_tokens' || answer.stop === 'pause_turn' ? 'max_output_tokens' : null;
  const usage = usageOf(input, sum(blocks), sum(blocks.filter((block) => block.type.endsWith('thinking'))));
  const begun = {
    id: `resp_${key.slice(0, 24)}`,
    object: 'response',
    created_at: 0,
    status: 'in_progress',
    model: request.model,
    output: [] as Item[],
    error: null,
    incomplete_details: null as { reason: string } | null,
    usage: null as typeof usage | null,
    parallel_tool_calls: true,
    store: false,
  };
  const status = why === null ? 'completed' : 'incomplete';
  const message = { ...begun, status, output: items, incomplete_details: why === null ? null : { reason: why }, usage };
  const all = numbered([
    [
      { type: 'response.created', response: begun },
      { type: 'response.in_progress', response: begun },
    ],
    items.flatMap(piecesOf),
    [{ type: `response.${status}`, response: message }],
  ]);
  return {
    message,
    head: all[0] ?? [],
    pieces: all[1] ?? [],
    tail: all[2] ?? [],
    ping: ': ping\n\n',
    failure: (type) => {
      const error = { code: type, message: 'The script breaks this answer off.' };
      return { type: 'response.failed', response: { ...begun, status: 'failed', error } } as StreamEvent;
    },
  };
}

function usageOf(input: InputUsage, output: number, reasoning: number): OpenAI.Responses.ResponseUsage {
  const prompt = input.input_tokens + input.cache_read_input_tokens + input.cache_creation_input_tokens;
  return {
    input_tokens: prompt,
    input_tokens_details: {
      cached_tokens: input.cache_read_input_tokens,
      cache_write_tokens: input.cache_creation_input_tokens,
    },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: prompt + output,
  };
}

function itemOf(block: Written, key: string): Item {
  switch (block.type) {
    case 'thinking':
      return { id: `rs_${key}`, type: 'reasoning', summary: [], encrypted_content: block.signature };
    case 'redacted_thinking':
      return { id: `rs_${key}`, type: 'reasoning', summary: [], encrypted_content: block.data };
    case 'text':
      return messageOf(key, { type: 'output_text', text: block.text, annotations: [] });
    case 'tool_use':
      return {
        id: `fc_${key}`,
        type: 'function_call',
        call_id: block.id,
        name: block.name,
        arguments: block.json,
        status: 'completed',
      };
  }
}

function refusal(key: string): Item {
  return messageOf(key, { type: 'refusal', refusal: 'The script refuses this request.' });
}

function messageOf(key: string, part: OpenAI.Responses.ResponseOutputMessage['content'][number]): Item {
  return { id: `msg_${key}`, type: 'message', role: 'assistant', status: 'completed', content: [part] };
}

function piecesOf(item: Item, output_index: number): Event[] {
  const added = (begun: object): Event => ({ type: 'response.output_item.added', output_index, item: begun });
  const done: Event = { type: 'response.output_item.done', output_index, item };
  if (item.type === 'function_call') {
    const at = { item_id: item.id, output_index };
    return [
      added({ ...item, arguments: '', status: 'in_progress' }),
      ...split(item.arguments).map((delta) => ({ type: 'response.function_call_arguments.delta', ...at, delta })),
      { type: 'response.function_call_arguments.done', ...at, name: item.name, arguments: item.arguments },
      done,
    ];
  }
  if (item.type !== 'message') return [added({ ...item, encrypted_content: '' }), done];
  const at = { item_id: item.id, output_index, content_index: 0 };
  const [part] = item.content;
  const kind = part?.type === 'refusal' ? 'refusal' : 'output_text';
  const said = part?.type === 'refusal' ? part.refusal : (part?.text ?? '');
  return [
    added({ ...item, content: [], status: 'in_progress' }),
    { type: 'response.content_part.added', ...at, part: { ...part, [kind === 'refusal' ? kind : 'text']: '' } },
    ...split(said).map((delta) => ({ type: `response.${kind}.delta`, ...at, delta })),
    { type: `response.${kind}.done`, ...at, [kind === 'refusal' ? kind : 'text']: said },
    { type: 'response.content_part.done', ...at, part },
    done,
  ];
}

function numbered(parts: readonly (readonly Event[])[]): StreamEvent[][] {
  let sequence_number = -1;
  return parts.map((part) =>
    part.map((event) => {
      sequence_number += 1;
      return { ...event, sequence_number };
    }),
  );
}
