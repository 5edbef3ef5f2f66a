import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import type { Rendered } from './render.ts';
import type { ScriptedAnswer } from './script.ts';
import type { InputUsage, Prompt } from './usage.ts';

/** One provider's format: how its requests are read and its answers written. In between all is Anthropic's shape. */
export interface Wire {
  /** The response header that names the request. */
  readonly requestIdHeader: string;
  /** Any key will do, so that none has to be invented; a missing one is what a wrong configuration looks like. */
  checkHeaders(headers: IncomingHttpHeaders): void;
  /** The request, checked as the API checks it. Throws ApiError. */
  read(body: unknown): Request;
  render(request: Request, answer: ScriptedAnswer, prompt: Prompt, input: InputUsage): Rendered;
  errorType(status: number): string;
  errorBody(error: ApiError, requestId: string): object;
}

/** A refusal with an HTTP status; its body is the wire's to write. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, type: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.type = type;
    this.headers = headers;
  }
}

/** A request the API would refuse as wrong in itself (400). */
export function invalid(message: string): ApiError {
  return new ApiError(400, 'invalid_request_error', message);
}

const said = z.string().regex(/\S/, 'text content blocks must be non-empty');
const id = z.string().regex(/^[a-zA-Z0-9_-]+$/);
const toolName = z.string().regex(/^[a-zA-Z0-9_-]{1,128}$/);
const cached = {
  cache_control: z.strictObject({ type: z.literal('ephemeral'), ttl: z.enum(['5m', '1h']).optional() }).nullish(),
};

const textBlock = z.strictObject({ type: z.literal('text'), text: said, ...cached });
const toolResult = z.strictObject({
  type: z.literal('tool_result'),
  tool_use_id: id,
  content: z.union([z.string(), z.array(textBlock)]).optional(),
  is_error: z.boolean().optional(),
  ...cached,
});
const toolUse = z.strictObject({
  type: z.literal('tool_use'),
  id,
  name: toolName,
  input: z.record(z.string(), z.unknown()),
  caller: z.unknown().optional(),
  ...cached,
});
const thinking = z.strictObject({ type: z.literal('thinking'), thinking: z.string(), signature: z.string() });
const redacted = z.strictObject({ type: z.literal('redacted_thinking'), data: z.string() });

const message = z.discriminatedUnion('role', [
  z.strictObject({
    role: z.literal('user'),
    content: z.preprocess(asBlocks, z.array(z.discriminatedUnion('type', [textBlock, toolResult])).min(1)),
  }),
  z.strictObject({
    role: z.literal('assistant'),
    content: z.preprocess(
      asBlocks,
      z.array(z.discriminatedUnion('type', [textBlock, thinking, redacted, toolUse])).min(1),
    ),
  }),
]);

const tool = z.strictObject({
  name: toolName,
  description: z.string().optional(),
  input_schema: z.looseObject({ type: z.literal('object') }),
  type: z.literal('custom').nullish(),
  strict: z.boolean().optional(),
  ...cached,
});

/** What is understood of a request; the rest is refused, as the API refuses fields it does not know. */
export const requestSchema = z.strictObject({
  model: z.string(),
  max_tokens: z.int().min(1),
  messages: z.array(message).min(1),
  system: z.preprocess(asBlocks, z.array(textBlock)).default([]),
  tools: z.array(tool).default([]),
  stream: z.boolean().default(false),
  metadata: z.strictObject({ user_id: z.string().max(256).nullish() }).optional(),
  tool_choice: z.looseObject({ type: z.enum(['auto', 'any', 'tool', 'none']) }).optional(),
  thinking: z.looseObject({ type: z.string() }).optional(),
  output_config: z.looseObject({}).optional(),
  temperature: z.number().optional(),
  top_p: z.number().optional(),
  top_k: z.number().optional(),
  stop_sequences: z.array(z.string()).optional(),
  service_tier: z.string().optional(),
});

export type Request = z.infer<typeof requestSchema>;
export type RequestMessage = Request['messages'][number];
export type RequestBlock = RequestMessage['content'][number];

/** A plain string is shorthand for one text block. */
function asBlocks(value: unknown): unknown {
  return typeof value === 'string' ? [{ type: 'text', text: value }] : value;
}
