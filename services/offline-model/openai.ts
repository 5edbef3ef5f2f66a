import { z } from 'zod';
import { itemSchema, toMessages } from './openai-items.ts';
import { render } from './openai-render.ts';
import { check } from './validate.ts';
import { ApiError, invalid, type Request, type Wire } from './wire.ts';

const CODES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'invalid_api_key',
  402: 'insufficient_quota',
  403: 'permission_denied',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_exceeded',
};

const toolSchema = z.strictObject({
  type: z.literal('function'),
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/),
  description: z.string().nullish(),
  parameters: z.looseObject({ type: z.literal('object') }),
  strict: z.boolean(),
});

/** What is understood of a request; the rest is refused. State at the provider is not offered: `store` must be false. */
const requestSchema = z.strictObject({
  model: z.string(),
  input: z.preprocess(asItems, z.array(itemSchema).min(1)),
  instructions: z.string().nullish(),
  max_output_tokens: z.int().min(16).optional(),
  tools: z.array(toolSchema).default([]),
  parallel_tool_calls: z.boolean().nullish(),
  include: z.array(z.string()).nullish(),
  store: z.literal(false, 'offline-model: nothing is stored here; send store: false'),
  prompt_cache_key: z.string().max(256).nullish(),
  stream: z.boolean().nullish(),
  reasoning: z.looseObject({}).nullish(),
  metadata: z.looseObject({}).nullish(),
});

/** OpenAI's Responses, without state. */
export const openAiWire: Wire = {
  requestIdHeader: 'x-request-id',

  checkHeaders(headers) {
    if (/^Bearer\s+\S/.test(headers.authorization ?? '')) return;
    throw new ApiError(401, 'invalid_api_key', 'offline-model: send any API key, as `authorization: Bearer`');
  },

  read(body): Request {
    const parsed = requestSchema.safeParse(body);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw invalid(`${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'invalid'}`);
    }
    const { model, input, instructions, tools, prompt_cache_key: user } = parsed.data;
    return check({
      model,
      max_tokens: parsed.data.max_output_tokens ?? 4_096,
      system: instructions ? [{ type: 'text', text: instructions }] : [],
      tools: tools.map(({ name, description, parameters }) => ({
        name,
        ...(description ? { description } : {}),
        input_schema: parameters,
      })),
      messages: marked(toMessages(input)),
      stream: parsed.data.stream ?? false,
      ...(user ? { metadata: { user_id: user } } : {}),
    });
  },

  render,
  errorType: (status) => CODES[status] ?? 'server_error',
  errorBody: ({ status, type, message }) => ({
    error: { message, type: status < 500 ? 'invalid_request_error' : 'server_error', param: null, code: type },
  }),
};

/** Caching needs no marks in this format: the ends of this and the last request are what the provider chooses. */
function marked(messages: Request['messages']): Request['messages'] {
  const ends = new Set<object>(messages.filter((message) => message.role === 'user').slice(-2));
  return messages.map((message) => {
    const last = message.content.at(-1);
    if (!ends.has(message) || last === undefined) return message;
    const end = { ...last, cache_control: { type: 'ephemeral' } };
    return { ...message, content: [...message.content.slice(0, -1), end] } as Request['messages'][number];
  });
}

/** A plain string is shorthand for one message. */
function asItems(value: unknown): unknown {
  return typeof value === 'string' ? [{ role: 'user', content: value }] : value;
}
