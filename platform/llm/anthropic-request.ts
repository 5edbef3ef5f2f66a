import type Anthropic from '@anthropic-ai/sdk';
import type { Message } from '#domain/conversation.ts';
import type { ModelRequest } from '#domain/ports/model.ts';
import { remembered, tokenUpperBound } from './tokens.ts';
import { wireId, wireName } from './wire-names.ts';

/** The `provider` of thinking blocks in Anthropic's format. */
export const PROVIDER = 'anthropic';

/** Tokens a request carries besides its own text: turn markers, and the prompt the provider adds to explain tools. */
const FRAME_TOKENS = 100;
const TOOL_PROMPT_TOKENS = 1_000;
/** Stands where a message would be empty on the wire, which the API refuses. */
const NOTHING = '(nothing)';

const BREAKPOINT = { cache_control: { type: 'ephemeral' } } as const;

type Body = Anthropic.MessageCreateParamsStreaming;
type Block = Exclude<Anthropic.MessageParam['content'], string>[number];

/**
 * The request in Anthropic's format. The same conversation always gives the same bytes and a longer one only appends
 * to them: thinking is bound to what stands before it, and the cache to its exact prefix.
 *
 * All four cache breakpoints are used: the tools, the system prompt, the end of this request (written now), and the end
 * of the previous one (read now; naming it again finds it even where a turn added more blocks than the provider looks
 * back over).
 */
export function toBody(request: ModelRequest): Body {
  const messages = request.messages.map(toMessage);
  const userTurns = messages.filter((message) => message.role === 'user').slice(-2);
  for (const message of userTurns) markLast(message.content as Block[]);
  const tools = request.tools.map(
    (tool, index): Anthropic.Tool => ({
      name: tool.name,
      description: tool.description,
      input_schema: tool.inputSchema as Anthropic.Tool.InputSchema,
      ...(index === request.tools.length - 1 ? BREAKPOINT : {}),
    }),
  );
  return {
    model: request.model,
    max_tokens: request.maxOutputTokens,
    ...(tools.length === 0 ? {} : { tools }),
    ...(isBlank(request.system) ? {} : { system: [{ type: 'text', text: request.system, ...BREAKPOINT }] }),
    messages,
    metadata: { user_id: request.runId },
    stream: true,
  };
}

const boundOf = remembered((message: Message) => tokenUpperBound(`${JSON.stringify(toMessage(message))},`));
/** What the two marked messages carry besides their own text. */
const MARK_TOKENS = 2 * tokenUpperBound(`,${JSON.stringify(BREAKPOINT)}`);

/** An upper bound of the tokens the provider will bill for the prompt, cached or not. No I/O. */
export function inputTokenUpperBound(request: ModelRequest): number {
  const { tools, system } = toBody({ ...request, messages: [] });
  const frame = tokenUpperBound(JSON.stringify([tools ?? [], system ?? [], []])) + MARK_TOKENS + FRAME_TOKENS;
  const said = request.messages.reduce((sum, message) => sum + boundOf(message), 0);
  return frame + said + (request.tools.length === 0 ? 0 : TOOL_PROMPT_TOKENS);
}

function toMessage(message: Message): Anthropic.MessageParam {
  const content = message.role === 'user' ? userBlocks(message.content) : assistantBlocks(message.content);
  return { role: message.role, content: content.length === 0 ? [{ type: 'text', text: NOTHING }] : content };
}

function userBlocks(blocks: Extract<Message, { role: 'user' }>['content']): Block[] {
  return blocks.flatMap((block): Block[] => {
    if (block.type === 'text') return isBlank(block.text) ? [] : [{ type: 'text', text: block.text }];
    return [
      {
        type: 'tool_result',
        tool_use_id: wireId(block),
        content: isBlank(block.text) ? NOTHING : block.text,
        ...(block.isError ? { is_error: true } : {}),
      },
    ];
  });
}

function assistantBlocks(blocks: Extract<Message, { role: 'assistant' }>['content']): Block[] {
  return blocks.flatMap((block): Block[] => {
    if (block.type === 'text') return isBlank(block.text) ? [] : [{ type: 'text', text: block.text }];
    if (block.type === 'tool_call') {
      // The API takes objects only; what was malformed is told in the call's result.
      return [{ type: 'tool_use', id: wireId(block), name: wireName(block.tool), input: block.args ?? {} }];
    }
    return block.provider === PROVIDER ? [block.data as unknown as Block] : [];
  });
}

function markLast(blocks: Block[]): void {
  const last = blocks.at(-1);
  if (last !== undefined) blocks[blocks.length - 1] = { ...last, ...BREAKPOINT } as Block;
}

function isBlank(text: string): boolean {
  return text.trim() === '';
}
