import type OpenAI from 'openai';
import type { Message } from '#domain/conversation.ts';
import type { ModelRequest } from '#domain/ports/model.ts';
import { remembered, tokenUpperBound } from './tokens.ts';
import { wireId, wireName } from './wire-names.ts';

/** The `provider` of thinking blocks in OpenAI's format. */
export const PROVIDER = 'openai';

/** Tokens a request carries besides its own text: item markers, and the prompt the provider adds to explain tools. */
const FRAME_TOKENS = 100;
const TOOL_PROMPT_TOKENS = 1_000;
/** Stands where there would be no input at all, which the API refuses. */
const NOTHING = '(nothing)';
/** The format has no mark for a failed call, so its result says so in its first line. */
export const FAILED = '[error]\n';

type Body = OpenAI.Responses.ResponseCreateParamsStreaming;
type Item = OpenAI.Responses.ResponseInputItem;

/**
 * The request in the format of OpenAI's Responses. Nothing is kept at the provider: reasoning comes sealed and goes back
 * with the conversation. The same conversation always gives the same bytes and a longer one only appends to them, which
 * is what the provider's own caching of prefixes goes by; the run is its key.
 */
export function toBody(request: ModelRequest): Body {
  const input = request.messages.flatMap(toItems);
  const tools = request.tools.map(
    (tool): OpenAI.Responses.FunctionTool => ({
      type: 'function',
      name: tool.name,
      description: tool.description,
      parameters: tool.inputSchema,
      strict: false,
    }),
  );
  return {
    model: request.model,
    max_output_tokens: request.maxOutputTokens,
    ...(request.system.trim() === '' ? {} : { instructions: request.system }),
    ...(tools.length === 0 ? {} : { tools, parallel_tool_calls: true }),
    input: input.length === 0 ? [user(NOTHING)] : input,
    include: ['reasoning.encrypted_content'],
    store: false,
    prompt_cache_key: request.runId,
    stream: true,
  };
}

/** What a sealed block carries besides what was counted for it. */
const SEAL_TOKENS = 50;

/** Sealed reasoning is some five times as long as its tokens, so it counts as what the provider counted for it. */
const boundOf = remembered((message: Message): number => {
  const sealed = message.content.flatMap((block) =>
    block.type === 'thinking' && block.provider === PROVIDER && block.tokens !== undefined ? [block.tokens] : [],
  );
  const plain = message.content.filter((block) => !(block.type === 'thinking' && block.tokens !== undefined));
  const text = JSON.stringify(toItems({ ...message, content: plain } as Message));
  return tokenUpperBound(`${text},`) + sealed.reduce((sum, tokens) => sum + tokens + SEAL_TOKENS, 0);
});

/** An upper bound of the tokens the provider will bill for the prompt, cached or not. No I/O. */
export function inputTokenUpperBound(request: ModelRequest): number {
  const { tools, instructions } = toBody({ ...request, messages: [] });
  const frame = tokenUpperBound(JSON.stringify([tools ?? [], instructions ?? '', NOTHING])) + FRAME_TOKENS;
  const said = request.messages.reduce((sum, message) => sum + boundOf(message), 0);
  return frame + said + (request.tools.length === 0 ? 0 : TOOL_PROMPT_TOKENS);
}

function toItems(message: Message): Item[] {
  return message.role === 'user' ? userItems(message.content) : assistantItems(message.content);
}

function userItems(blocks: Extract<Message, { role: 'user' }>['content']): Item[] {
  return blocks.flatMap((block): Item[] => {
    if (block.type === 'text') return block.text.trim() === '' ? [] : [user(block.text)];
    const output = block.text.trim() === '' ? NOTHING : block.text;
    return [{ type: 'function_call_output', call_id: wireId(block), output: block.isError ? FAILED + output : output }];
  });
}

function assistantItems(blocks: Extract<Message, { role: 'assistant' }>['content']): Item[] {
  const items = blocks.flatMap((block): Item[] => {
    if (block.type === 'text') {
      if (block.text.trim() === '') return [];
      const phase = block.phase === undefined ? {} : { phase: block.phase as 'commentary' | 'final_answer' };
      return [{ type: 'message', role: 'assistant', content: block.text, ...phase }];
    }
    if (block.type === 'tool_call') {
      // What was malformed is told in the call's result; not every server of this format takes back what is no JSON.
      const args = JSON.stringify(block.args ?? {});
      return [{ type: 'function_call', call_id: wireId(block), name: wireName(block.tool), arguments: args }];
    }
    return block.provider === PROVIDER ? [block.data as unknown as Item] : [];
  });
  // Reasoning is refused without the item it led to.
  while (items.at(-1)?.type === 'reasoning') items.pop();
  return items;
}

function user(text: string): Item {
  return { type: 'message', role: 'user', content: [{ type: 'input_text', text }] };
}
