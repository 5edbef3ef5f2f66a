import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { isStewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelRequest } from '#domain/ports/model.ts';
import { createOpenAiModel } from './openai.ts';

/** What every adapter does alike stands in test/providers; here is what is OpenAI's alone. */

let stream = '';
let received: { headers: Record<string, unknown>; url: string; body: Record<string, unknown> };
let server: Server;
let baseUrl: string;

beforeAll(async () => {
  server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
      received = { headers: req.headers, url: req.url ?? '', body };
      res.writeHead(200, { 'content-type': 'text/event-stream' }).end(stream);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

const REQUEST: ModelRequest = {
  model: 'gpt-6-sol',
  system: 'Be kind.',
  tools: [{ name: 'look', description: 'Looks.', inputSchema: { type: 'object' } }],
  messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
  maxOutputTokens: 1_000,
  turn: 3,
  runId: 'run-1',
};

type Event = { type: string } & Record<string, unknown>;
const events = (...list: readonly Event[]): string =>
  list.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
const created: Event = { type: 'response.created', response: { model: 'gpt-6-sol' } };
const done = (output_index: number, item: object): Event => ({ type: 'response.output_item.done', output_index, item });
const completed = (usage: unknown = { input_tokens: 7, output_tokens: 9 }): Event => ({
  type: 'response.completed',
  response: { model: 'gpt-6-sol-2026-09-22', usage },
});
const said = (text: string): Event => done(0, { type: 'message', content: [{ type: 'output_text', text }] });

async function ask(said: string, changes: Partial<ModelRequest> = {}, deltas: string[] = []): Promise<ModelAnswer> {
  stream = said;
  const port = createOpenAiModel({ apiKey: 'sk-test', baseUrl });
  return port.complete({ ...REQUEST, ...changes }, (delta) => deltas.push(delta), new AbortController().signal);
}

async function failure(of: Promise<unknown>): Promise<{ code: string; message: string; details: object }> {
  const error = await of.then(
    () => new Error('it did not fail'),
    (thrown: unknown) => thrown,
  );
  if (isStewardError(error)) return error;
  throw error;
}

test('asks Responses without state at the provider, and only appends as the conversation grows', async () => {
  const reasoning = { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'sealed' };
  await ask(events(created, said('Hi'), completed()), {
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'Hello' }] },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', provider: 'anthropic', data: { secret: 1 } },
          { type: 'thinking', provider: 'openai', data: reasoning },
          { type: 'text', text: 'I look.', phase: 'commentary' },
          { type: 'tool_call', callId: '1.0', providerId: 'call_1', tool: 'look', args: null, malformed: '{oops' },
          { type: 'tool_call', callId: '1.1', providerId: 'a:b', tool: 'no such\u0000tool', args: { a: 1 } },
          // Cut off before what it led to.
          { type: 'thinking', provider: 'openai', data: reasoning },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', callId: '1.0', providerId: 'call_1', text: 'No JSON.', isError: true },
          { type: 'tool_result', callId: '1.1', providerId: 'a:b', text: '', isError: false },
          { type: 'text', text: 'Go on.' },
        ],
      },
    ],
  });
  expect(received.url).toBe('/v1/responses');
  expect(received.headers).toMatchObject({ authorization: 'Bearer sk-test' });
  expect(received.headers).not.toHaveProperty('openai-organization');
  const user = (text: string) => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });
  expect(received.body).toEqual({
    model: 'gpt-6-sol',
    max_output_tokens: 1_000,
    instructions: 'Be kind.',
    tools: [{ type: 'function', name: 'look', description: 'Looks.', parameters: { type: 'object' }, strict: false }],
    parallel_tool_calls: true,
    include: ['reasoning.encrypted_content'],
    store: false,
    prompt_cache_key: 'run-1',
    stream: true,
    input: [
      user('Hello'),
      reasoning,
      { type: 'message', role: 'assistant', content: 'I look.', phase: 'commentary' },
      { type: 'function_call', call_id: 'call_1', name: 'look', arguments: '{}' },
      { type: 'function_call', call_id: 'call_1_1', name: 'no_such_tool', arguments: '{"a":1}' },
      { type: 'function_call_output', call_id: 'call_1', output: '[error]\nNo JSON.' },
      { type: 'function_call_output', call_id: 'call_1_1', output: '(nothing)' },
      user('Go on.'),
    ],
  });
  await ask(events(created, said('Hi'), completed()), { system: ' ', tools: [], messages: [] });
  expect(received.body).not.toHaveProperty('instructions');
  expect(received.body).not.toHaveProperty('tools');
  expect(received.body.input).toEqual([user('(nothing)')]);
});

test('what a server does not send in pieces is taken from the finished item', async () => {
  const deltas: string[] = [];
  const answer = await ask(
    events(
      created,
      done(0, { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'sealed', status: 'completed' }),
      done(1, { type: 'message', phase: 'commentary', content: [{ type: 'output_text', text: 'I look.' }] }),
      done(2, { type: 'function_call', call_id: 'call_1', name: 'look', arguments: '{"a":1}' }),
      completed(),
    ),
    {},
    deltas,
  );
  expect(answer).toMatchObject({ stop: 'tool_use', model: 'gpt-6-sol-2026-09-22' });
  expect(answer.content).toEqual([
    {
      type: 'thinking',
      provider: 'openai',
      data: { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'sealed' },
    },
    { type: 'text', text: 'I look.', phase: 'commentary' },
    { type: 'tool_call', callId: '3.0', providerId: 'call_1', tool: 'look', args: { a: 1 } },
  ]);
  expect(deltas).toEqual(['I look.']);
});

test('totals are taken apart, and impossible counts become upper bounds', async () => {
  const whole = {
    input_tokens: 100,
    input_tokens_details: { cached_tokens: 60, cache_write_tokens: 30 },
    output_tokens: 20,
    output_tokens_details: { reasoning_tokens: 15 },
  };
  const usageOf = async (usage: unknown) => (await ask(events(created, said('Hi'), completed(usage)))).usage;
  expect(await usageOf(whole)).toEqual({ input: 10, cacheRead: 60, cacheWrite: 30, output: 20, reasoning: 15 });
  const more = { ...whole, input_tokens_details: { cached_tokens: 160, cache_write_tokens: 30 } };
  expect(await usageOf(more)).toMatchObject({ input: 0, cacheRead: 100, cacheWrite: 0 });
  const bound = createOpenAiModel({ apiKey: 'sk-test' }).estimateInputTokens(REQUEST);
  for (const none of [null, {}, { input_tokens: -5, output_tokens: 1e300 }, { input_tokens: 'many' }]) {
    const usage = await usageOf(none);
    expect(usage).toMatchObject({ input: bound, cacheRead: 0 });
    expect(usage.output).toBeGreaterThan(0);
  }
});

test('sealed reasoning is estimated at what it was counted, and at its length where nobody counted', async () => {
  const encrypted_content = 'aB3x'.repeat(5_000);
  const parts = [0, 1].map((at) => done(at, { type: 'reasoning', id: `rs_${at}`, summary: [], encrypted_content }));
  const text = done(2, { type: 'message', content: [{ type: 'output_text', text: 'Hi' }] });
  const port = createOpenAiModel({ apiKey: 'sk-test' });
  const estimateAfter = async (usage: unknown): Promise<number> => {
    const { content } = await ask(events(created, ...parts, text, completed(usage)));
    const messages = [...REQUEST.messages, { role: 'assistant' as const, content }];
    return port.estimateInputTokens({ ...REQUEST, messages }) - port.estimateInputTokens(REQUEST);
  };
  const counted = { input_tokens: 5, output_tokens: 900, output_tokens_details: { reasoning_tokens: 800 } };
  const estimate = await estimateAfter(counted);
  expect(estimate).toBeGreaterThan(800);
  expect(estimate).toBeLessThan(1_200);
  expect(await estimateAfter({ input_tokens: 5, output_tokens: 900 })).toBeGreaterThan(20_000);
});

test('an answer that broke off before anything was shown, or while it reasoned, is counted at its cap', async () => {
  const reasoning = { type: 'response.output_item.added', output_index: 0, item: { type: 'reasoning' } };
  for (const parts of [[created], [created, reasoning]]) {
    const error = await failure(ask(events(...parts)));
    expect(error).toMatchObject({ code: 'MODEL_CUT_OFF', details: { usage: { output: 1_000 } } });
  }
  const begun = { type: 'response.output_item.added', output_index: 0, item: { type: 'message', content: [] } };
  const { details } = await failure(ask(events(created, begun)));
  expect((details as { usage: { output: number } }).usage.output).toBeLessThan(100);
});

test.each([
  ['server_error', 'MODEL_UNAVAILABLE'],
  ['rate_limit_exceeded', 'MODEL_RATE_LIMITED'],
  ['invalid_prompt', 'MODEL_REQUEST_REFUSED'],
  ['context_length_exceeded', 'MODEL_REQUEST_REFUSED'],
  ['insufficient_quota', 'MODEL_AUTH'],
  [null, 'MODEL_UNAVAILABLE'],
])(
  'a response that failed with %s is %s, at what was counted, as an event of its own or within the response',
  async (code, expected) => {
    const error = { code, message: 'Because.' };
    const usage = { input_tokens: 5, output_tokens: 2 };
    const failed = { type: 'response.failed', response: { model: 'gpt-6-sol', error, usage } };
    expect(await failure(ask(events(created, failed)))).toMatchObject({
      code: expected,
      details: { usage: { input: 5, output: 2 } },
    });
    expect(await failure(ask(events(created, { type: 'error', ...error })))).toMatchObject({ code: expected });
  },
);

test('a refusal in place of text is a refusal', async () => {
  const item = { type: 'message', content: [{ type: 'refusal', refusal: 'No.' }] };
  const call = done(1, { type: 'function_call', call_id: 'call_1', name: 'look', arguments: '{}' });
  expect(await ask(events(created, done(0, item), call, completed()))).toMatchObject({ stop: 'refusal', content: [] });
});
