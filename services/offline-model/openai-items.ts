import { z } from 'zod';
import { seal } from './binding.ts';
import { invalid, type RequestBlock, type RequestMessage } from './wire.ts';

/** First line of a failed call's result: the format has no mark for it, so the adapter writes one. */
const FAILED = '[error]\n';

const id = z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/);
const said = z.string().regex(/\S/, 'text must not be empty');
const inputText = z.strictObject({ type: z.literal('input_text'), text: said });
const outputText = z.looseObject({ type: z.literal('output_text'), text: said });

/** The items of a request's input that are understood; the rest is refused. */
export const itemSchema = z.union([
  z.strictObject({
    type: z.literal('message').optional(),
    role: z.enum(['user', 'assistant']),
    content: z.union([said, z.array(z.union([inputText, outputText])).min(1)]),
    phase: z.enum(['commentary', 'final_answer']).nullish(),
    id: z.string().optional(),
    status: z.string().optional(),
  }),
  z.strictObject({
    type: z.literal('function_call'),
    call_id: id,
    name: id,
    arguments: z.string(),
    id: z.string().optional(),
    status: z.string().optional(),
  }),
  z.strictObject({ type: z.literal('function_call_output'), call_id: id, output: z.string() }),
  z.strictObject({
    type: z.literal('reasoning'),
    id: z.string(),
    summary: z.array(z.strictObject({ type: z.literal('summary_text'), text: z.string() })),
    encrypted_content: z.string(),
    content: z.array(z.looseObject({})).optional(),
  }),
]);
type Item = z.infer<typeof itemSchema>;

/** What reasoning is sealed with: unlike Anthropic's, it is bound to nothing that stands before it. */
export function sealed(thinking: string): string {
  return seal('reasoning', thinking);
}

/**
 * The items as messages of alternating roles. Reasoning is checked to be this server's own and to be followed by what it
 * led to, and left out: nothing of it decides an answer. Throws ApiError.
 */
export function toMessages(items: readonly Item[]): RequestMessage[] {
  checkCalls(items);
  const messages: { role: 'user' | 'assistant'; content: RequestBlock[] }[] = [];
  for (const [at, item] of items.entries()) {
    if (item.type === 'reasoning') {
      checkReasoning(item, items[at + 1]);
      continue;
    }
    const role = item.type === 'function_call' || ('role' in item && item.role === 'assistant') ? 'assistant' : 'user';
    const last = messages.at(-1);
    if (last?.role === role) last.content.push(...toBlocks(item));
    else messages.push({ role, content: toBlocks(item) });
  }
  return messages as RequestMessage[];
}

function toBlocks(item: Exclude<Item, { type: 'reasoning' }>): RequestBlock[] {
  if (item.type === 'function_call') {
    return [{ type: 'tool_use', id: item.call_id, name: item.name, input: argumentsOf(item.arguments) }];
  }
  if (item.type === 'function_call_output') {
    const failed = item.output.startsWith(FAILED);
    const content = failed ? item.output.slice(FAILED.length) : item.output;
    return [{ type: 'tool_result', tool_use_id: item.call_id, content, ...(failed ? { is_error: true } : {}) }];
  }
  if (typeof item.content === 'string') return [{ type: 'text', text: item.content }];
  return item.content.map(({ text }) => ({ type: 'text', text }));
}

function argumentsOf(json: string): Record<string, unknown> {
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch (cause) {
    throw Object.assign(invalid(`input: arguments that are no JSON: ${json.slice(0, 100)}`), { cause });
  }
}

function checkCalls(items: readonly Item[]): void {
  const calls = items.flatMap((item) => (item.type === 'function_call' ? [item.call_id] : []));
  const outputs = items.flatMap((item) => (item.type === 'function_call_output' ? [item.call_id] : []));
  if (new Set(calls).size < calls.length) throw invalid('input: two function calls of one call_id');
  if (new Set(outputs).size < outputs.length) throw invalid('input: two outputs of one function call');
  const open = calls.find((call) => !outputs.includes(call));
  if (open !== undefined) throw invalid(`No tool output found for function call ${open}.`);
  const stray = outputs.find((output) => !calls.includes(output));
  if (stray !== undefined) throw invalid(`No tool call found for function call output with call_id ${stray}.`);
}

function checkReasoning(item: Extract<Item, { type: 'reasoning' }>, next: Item | undefined): void {
  const thinking = Buffer.from(item.encrypted_content.split('.')[0] ?? '', 'base64url').toString();
  if (item.encrypted_content !== sealed(thinking)) {
    throw invalid(`The encrypted content for item ${item.id} could not be verified.`);
  }
  const led =
    next?.type === 'function_call' ||
    next?.type === 'reasoning' ||
    (next && 'role' in next && next.role === 'assistant');
  if (!led) throw invalid(`Item '${item.id}' of type 'reasoning' was provided without its required following item.`);
}
