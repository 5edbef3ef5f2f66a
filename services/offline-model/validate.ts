import { findModel } from '#platform/llm/models.ts';
import { cameAfterThinking, isGenuine, isThinking, Prefixes } from './binding.ts';
import { ApiError, invalid, type Request, type RequestBlock, requestSchema } from './wire.ts';

const MOST_BREAKPOINTS = 4;

/**
 * The request, checked as the API checks it in what an adapter can get wrong. In two things it is stricter: roles must
 * alternate, and a message must not end with the assistant's words. Throws ApiError.
 */
export function validate(body: unknown): Request {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(`${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'invalid'}`);
  }
  return check(parsed.data);
}

/** The request, after the checks that no schema makes. Throws ApiError. */
export function check(request: Request): Request {
  const model = findModel(request.model);
  if (model === undefined) throw new ApiError(404, 'not_found_error', `model: ${request.model}`);
  if (request.max_tokens > model.maxOutput) {
    throw invalid(`max_tokens: ${request.max_tokens} > ${model.maxOutput}, which is the most ${model.id} can write`);
  }
  const names = request.tools.map((tool) => tool.name);
  if (new Set(names).size < names.length) throw invalid('tools: Tool names must be unique.');
  checkBreakpoints(request);
  checkTurns(request);
  checkThinking(request);
  return request;
}

function checkBreakpoints(request: Request): void {
  const marked = [
    ...request.tools,
    ...request.system,
    ...request.messages.flatMap((message) => message.content as object[]),
  ].filter((block) => (block as { cache_control?: unknown }).cache_control != null).length;
  if (marked > MOST_BREAKPOINTS) {
    throw invalid(`A maximum of ${MOST_BREAKPOINTS} blocks with cache_control may be provided. Found ${marked}.`);
  }
}

function checkTurns({ messages }: Request): void {
  messages.forEach((message, at) => {
    const expected = at % 2 === 0 ? 'user' : 'assistant';
    if (message.role !== expected) throw invalid(`messages.${at}.role: expected ${expected}; roles must alternate`);
    const results = idsOf(message.content, 'tool_result');
    const before = messages[at - 1];
    const calls = before === undefined ? [] : idsOf(before.content, 'tool_use');
    const stray = results.find((id) => !calls.includes(id));
    if (stray !== undefined) {
      throw invalid(
        `messages.${at}.content: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${stray}. ` +
          'Each `tool_result` block must have a corresponding `tool_use` block in the previous message.',
      );
    }
    const open = calls.filter((id) => !results.includes(id));
    if (message.role === 'user' && open.length > 0) {
      throw invalid(
        `messages.${at - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ` +
          `${open.join(', ')}. Each \`tool_use\` block must have a corresponding \`tool_result\` in the next message.`,
      );
    }
    if (new Set(results).size < results.length) throw invalid(`messages.${at}.content: two results of one tool_use`);
    const own = idsOf(message.content, 'tool_use');
    if (new Set(own).size < own.length) throw invalid(`messages.${at}.content: \`tool_use\` ids must be unique`);
    const firstText = message.content.findIndex((block) => block.type === 'text');
    const lastResult = message.content.findLastIndex((block) => block.type === 'tool_result');
    if (firstText !== -1 && firstText < lastResult) {
      throw invalid(`messages.${at}.content: \`tool_result\` blocks must come before text`);
    }
  });
  if (messages.at(-1)?.role !== 'user') throw invalid('messages: the last message must be of the user');
}

function checkThinking(request: Request): void {
  const prefixes = new Prefixes(request);
  request.messages.forEach((message, at) => {
    if (message.role !== 'assistant') return;
    message.content.forEach((block, index) => {
      if (!isThinking(block) || isGenuine(prefixes.before(at), block)) return;
      throw invalid(
        `messages.${at}.content.${index}: Invalid \`signature\` in \`${block.type}\` block. The block, or what stands ` +
          'before it in the conversation, is not what it was when the block was written.',
      );
    });
    const first = message.content[0];
    const thought = message.content.some(
      (block) => block.type === 'tool_use' && cameAfterThinking(block.id, prefixes.before(at)),
    );
    if (thought && first !== undefined && !isThinking(first)) {
      throw invalid(
        `messages.${at}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${first.type}\`. ` +
          'Thinking must be sent back with the tool calls it led to.',
      );
    }
  });
}

function idsOf(content: readonly RequestBlock[], type: 'tool_use' | 'tool_result'): string[] {
  return content.flatMap((block) => {
    if (block.type !== type) return [];
    return [block.type === 'tool_use' ? block.id : block.tool_use_id];
  });
}
