import { getEventListeners, once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { isStewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelPort, ModelRequest } from '#domain/ports/model.ts';
import { type AnthropicOptions, createAnthropicModel } from './anthropic.ts';

/** What the provider says next: bytes as they stand, or a handler. */
let say: (res: ServerResponse, req: IncomingMessage) => void = () => {};
let received: { headers: IncomingMessage['headers']; body: Record<string, unknown> }[] = [];
let server: Server;
let url: string;

beforeAll(async () => {
  server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      received.push({
        headers: req.headers,
        body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>,
      });
      say(res, req);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  received = [];
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

const REQUEST: ModelRequest = {
  model: 'claude-opus-5-5',
  system: 'Be kind.',
  tools: [
    { name: 'look', description: 'Looks.', inputSchema: { type: 'object' } },
    { name: 'act', description: 'Acts.', inputSchema: { type: 'object' } },
  ],
  messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
  maxOutputTokens: 1_000,
  turn: 3,
  runId: 'run-1',
};

const port = (options: Partial<AnthropicOptions> = {}): ModelPort =>
  createAnthropicModel({ apiKey: 'sk-test', baseUrl: url, ...options });
const ask = (options: Partial<AnthropicOptions> = {}, request: Partial<ModelRequest> = {}): Promise<ModelAnswer> =>
  port(options).complete({ ...REQUEST, ...request }, () => {}, new AbortController().signal);

const event = (value: Record<string, unknown>): string =>
  `event: ${String(value.type)}\ndata: ${JSON.stringify(value)}\n\n`;
const start = (usage: unknown = { input_tokens: 7, output_tokens: 1 }): string =>
  event({ type: 'message_start', message: { model: 'claude-opus-5-5', usage } });
const block = (index: number, content_block: unknown): string =>
  event({ type: 'content_block_start', index, content_block });
const delta = (index: number, piece: unknown): string => event({ type: 'content_block_delta', index, delta: piece });
const text = (said = 'Hi'): string =>
  block(0, { type: 'text', text: '' }) +
  delta(0, { type: 'text_delta', text: said }) +
  event({ type: 'content_block_stop', index: 0 });
const call = (index: number, id: string): string => block(index, { type: 'tool_use', id, name: 'look', input: {} });
const end = (stop_reason: string | null, usage: unknown = { output_tokens: 9 }): string =>
  event({ type: 'message_delta', delta: { stop_reason }, usage }) + event({ type: 'message_stop' });

function streams(...parts: readonly string[]): void {
  say = (res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.end(parts.join(''));
  };
}

async function failure(
  of: Promise<unknown>,
): Promise<{ code: string; message: string; details: Record<string, unknown> }> {
  try {
    await of;
  } catch (error) {
    if (isStewardError(error)) return { code: error.code, message: error.message, details: error.details };
    throw error;
  }
  throw new Error('it did not fail');
}

test('sends the key, no trace ids, and marks the four places that are worth caching', async () => {
  streams(start(), text(), end('end_turn'));
  await ask(
    {},
    {
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Hello' }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', provider: 'other', data: { secret: 1 } },
            { type: 'thinking', provider: 'anthropic', data: { type: 'redacted_thinking', data: 'abc' } },
            { type: 'text', text: '  ' },
            { type: 'tool_call', callId: '0.0', providerId: 'toolu_1', tool: 'look', args: null, malformed: '{oops' },
            { type: 'tool_call', callId: '0.1', providerId: 'toolu_2', tool: 'look', args: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', callId: '0.0', providerId: 'toolu_1', text: 'No JSON.', isError: true },
            { type: 'tool_result', callId: '0.1', providerId: 'toolu_2', text: '', isError: false },
          ],
        },
      ],
    },
  );
  const { headers, body } = received[0] ?? { headers: {}, body: {} };
  const cached = { cache_control: { type: 'ephemeral' } };
  expect(headers.authorization ?? headers['x-api-key']).toContain('sk-test');
  expect(headers).not.toHaveProperty('traceparent');
  expect(body).toEqual({
    model: 'claude-opus-5-5',
    max_tokens: 1_000,
    stream: true,
    metadata: { user_id: 'run-1' },
    tools: [
      { name: 'look', description: 'Looks.', input_schema: { type: 'object' } },
      { name: 'act', description: 'Acts.', input_schema: { type: 'object' }, ...cached },
    ],
    system: [{ type: 'text', text: 'Be kind.', ...cached }],
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'Hello', ...cached }] },
      {
        role: 'assistant',
        content: [
          { type: 'redacted_thinking', data: 'abc' },
          { type: 'tool_use', id: 'toolu_1', name: 'look', input: {} },
          { type: 'tool_use', id: 'toolu_2', name: 'look', input: { a: 1 } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: 'No JSON.', is_error: true },
          { type: 'tool_result', tool_use_id: 'toolu_2', content: '(nothing)', ...cached },
        ],
      },
    ],
  });
});

test('an empty system prompt, no tools and an empty message leave nothing the API refuses', async () => {
  streams(start(), text(), end('end_turn'));
  await ask({}, { system: ' ', tools: [], messages: [{ role: 'user', content: [] }] });
  expect(received[0]?.body).not.toHaveProperty('system');
  expect(received[0]?.body).not.toHaveProperty('tools');
  expect(received[0]?.body.messages).toMatchObject([{ content: [{ text: '(nothing)' }] }]);
});

test.each([
  ['end_turn', text(), 'end_turn', 1],
  ['stop_sequence', text(), 'end_turn', 1],
  ['something_new', text(), 'end_turn', 1],
  ['tool_use', call(0, 'a') + call(1, 'b'), 'tool_use', 2],
  [null, text() + call(1, 'a'), 'tool_use', 2],
  ['end_turn', call(0, 'a'), 'tool_use', 1],
  ['max_tokens', '', 'length', 0],
  ['max_tokens', text() + call(1, 'a'), 'length', 2],
  ['model_context_window_exceeded', text(), 'length', 1],
  ['pause_turn', text(), 'length', 1],
  ['refusal', '', 'refusal', 0],
  ['refusal', text() + call(1, 'a'), 'refusal', 1],
])('stop reason %s after %j is %s', async (reason, content, stop, blocks) => {
  streams(start(), content, end(reason));
  const answer = await ask();
  expect(answer.stop).toBe(stop);
  expect(answer.content).toHaveLength(blocks);
  expect(answer.usage).toMatchObject({ input: 7, output: 9 });
});

test('fields of usage stay apart, the last count of each wins, and impossible ones become upper bounds', async () => {
  const whole = { input_tokens: 1, output_tokens: 2, cache_read_input_tokens: 30, cache_creation_input_tokens: 40 };
  streams(
    start(whole),
    text(),
    end('end_turn', { output_tokens: 5, cache_read_input_tokens: 31, output_tokens_details: { thinking_tokens: 3 } }),
  );
  expect((await ask()).usage).toEqual({ input: 1, output: 5, cacheRead: 31, cacheWrite: 40, reasoning: 3 });
  streams(
    start({ input_tokens: -5, output_tokens: 'many' }),
    text('x'.repeat(50)),
    end('end_turn', { output_tokens: 1e300 }),
  );
  const { usage } = await ask();
  expect(usage.input).toBe(port().estimateInputTokens(REQUEST));
  expect(usage.output).toBeGreaterThanOrEqual(50);
});

const usage = { input: 7, output: expect.any(Number) };

test.each([
  ['an event that is no JSON', [start(), 'event: x\ndata: {oops\n\n'], 'MODEL_BAD_ANSWER', { usage }],
  [
    'an event of the wrong shape',
    [start(), event({ type: 'content_block_start', index: 'x' })],
    'MODEL_BAD_ANSWER',
    { usage },
  ],
  ['a piece of no block', [start(), delta(4, { type: 'text_delta', text: 'x' })], 'MODEL_BAD_ANSWER', { usage }],
  ['two calls of one id', [start(), call(0, 'a'), call(1, 'a'), end('tool_use')], 'MODEL_BAD_ANSWER', { usage }],
  ['a stop for calls without one', [start(), text(), end('tool_use')], 'MODEL_BAD_ANSWER', { usage }],
  ['white space only', [start(), text(' \n'), end('end_turn')], 'MODEL_BAD_ANSWER', { usage: { input: 7, output: 9 } }],
  [
    'thinking only',
    [start(), block(0, { type: 'thinking', thinking: 'x', signature: 'y' }), end('end_turn')],
    'MODEL_BAD_ANSWER',
    { usage },
  ],
  [
    'an end before message_stop',
    [
      start(),
      text(),
      event({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 9 } }),
    ],
    'MODEL_CUT_OFF',
    { usage: { input: 7, output: 9 } },
  ],
  ['nothing at all', [''], 'MODEL_UNAVAILABLE', { unobserved: true }],
  ['more than it may', [start(), text('x'.repeat(20_000))], 'MODEL_BAD_ANSWER', {}],
] as const)('a stream with %s is named', async (_, parts, code, details) => {
  streams(...parts);
  expect(await failure(ask({ maxAnswerBytes: 10_000 }))).toMatchObject({ code, details });
});

test('a last count that leaves out what was written is no count of it', async () => {
  streams(
    start(),
    text('word '.repeat(200)),
    event({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: {} }),
    event({ type: 'message_stop' }),
  );
  expect((await ask()).usage.output).toBeGreaterThan(200);
});

test('a call that was cut before its arguments is malformed, not one without arguments', async () => {
  const cut = (reason: string) =>
    streams(start(), block(0, { type: 'tool_use', id: 't1', name: 'close_all', input: {} }), end(reason));
  cut('max_tokens');
  expect(await ask()).toMatchObject({ stop: 'length', content: [{ tool: 'close_all', args: null }] });
  cut('tool_use');
  expect(await ask()).toMatchObject({ stop: 'tool_use', content: [{ tool: 'close_all', args: {} }] });
});

test('what the format may gain is passed over; thinking keeps fields nobody knows', async () => {
  const known = { type: 'thinking', thinking: '', signature: '', era: 5 };
  streams(
    ': a comment\n\n',
    start(),
    event({ type: 'novelty', of: ['any', 'shape'] }),
    block(0, known),
    delta(0, { type: 'thinking_delta', thinking: 'a' }),
    delta(0, { type: 'thinking_delta', thinking: 'b' }),
    delta(0, { type: 'signature_delta', signature: 's==' }),
    block(1, { type: 'hologram', depth: 3 }),
    delta(1, { type: 'hologram_delta', depth: 4 }),
    block(2, { type: 'text', text: 'Hi' }),
    end('end_turn'),
  );
  expect((await ask()).content).toEqual([
    { type: 'thinking', provider: 'anthropic', data: { ...known, thinking: 'ab', signature: 's==' } },
    { type: 'text', text: 'Hi' },
  ]);
});

test('a gateway that gave up says nothing of what the provider has billed; the provider does', async () => {
  say = (res) => res.writeHead(504, { 'content-type': 'text/html' }).end('<h1>Gateway Timeout</h1>');
  expect(await failure(ask())).toMatchObject({ code: 'MODEL_UNAVAILABLE', details: { unobserved: true, status: 504 } });
  const body = JSON.stringify({ type: 'error', error: { type: 'timeout_error', message: 'Too slow.' } });
  say = (res) => res.writeHead(504, { 'content-type': 'application/json' }).end(body);
  expect((await failure(ask())).details).not.toHaveProperty('unobserved');
  say = (res) => res.writeHead(503, { 'content-type': 'text/html' }).end('<h1>Unavailable</h1>');
  expect((await failure(ask())).details).not.toHaveProperty('unobserved');
});

test('an answer that is no stream was perhaps billed; a failure is told once, not retried', async () => {
  say = (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>');
  expect(await failure(ask())).toMatchObject({ code: 'MODEL_BAD_ANSWER', details: { unobserved: true } });
  say = (res) => res.destroy();
  expect(await failure(ask())).toMatchObject({ code: 'MODEL_UNAVAILABLE', details: { unobserved: true } });
  say = (res) => res.writeHead(500, { 'x-should-retry': 'true', 'retry-after-ms': '12.5' }).end('broken');
  expect(await failure(ask())).toMatchObject({ code: 'MODEL_UNAVAILABLE', details: { status: 500, retryAfterMs: 13 } });
  expect(received).toHaveLength(3);
});

test('pings and comments keep a silent stream alive, but not beyond the deadline', async () => {
  const slowly = (sign: string, times: number): void => {
    say = (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(start());
      let said = 0;
      const timer = setInterval(() => {
        said += 1;
        if (said <= times) res.write(sign);
        else res.end(text() + end('end_turn'));
      }, 40);
      res.once('close', () => clearInterval(timer));
    };
  };
  for (const sign of [event({ type: 'ping' }), ': still here\n\n']) {
    slowly(sign, 25);
    expect((await ask({ idleTimeoutMs: 600 })).stop).toBe('end_turn');
  }
  slowly(event({ type: 'ping' }), 1_000);
  const late = await failure(ask({ requestTimeoutMs: 1_000 }));
  expect(late).toMatchObject({ code: 'MODEL_CUT_OFF', message: expect.stringContaining('did not finish in time') });
});

test('returns once all is said, though the provider keeps the connection open', async () => {
  let closed: Promise<unknown> | undefined;
  say = (res) => {
    closed = once(res, 'close');
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.write(start() + text() + end('end_turn'));
  };
  expect((await ask({ idleTimeoutMs: 30_000 })).stop).toBe('end_turn');
  await closed;
});

test('leaves no listener on a signal that outlives the call', async () => {
  const abort = new AbortController();
  streams(start(), text(), end('end_turn'));
  await port().complete(REQUEST, () => {}, abort.signal);
  streams(start());
  await failure(port().complete(REQUEST, () => {}, abort.signal));
  expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
});

test('a failing listener ends the call and the connection; a blank key is refused before any call', async () => {
  let closed: Promise<unknown> | undefined;
  say = (res) => {
    closed = once(res, 'close');
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.write(start() + text());
  };
  const broken = port().complete(
    REQUEST,
    () => {
      throw new Error('full');
    },
    new AbortController().signal,
  );
  expect(await failure(broken)).toMatchObject({ code: 'INTERNAL', details: { usage } });
  await closed;
  expect(() => port({ apiKey: ' ' })).toThrow(/Set ANTHROPIC_API_KEY/);
});

test('arguments nested so deep that nothing could write them out again are malformed, not the end of the answer', async () => {
  const deep = (levels: number): string => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`;
  const proposing = (levels: number): string =>
    call(0, 'toolu_1') + delta(0, { type: 'input_json_delta', partial_json: deep(levels) });
  streams(start(), proposing(100_000), end('tool_use'));
  const answer = await ask();
  expect(answer.content).toMatchObject([{ type: 'tool_call', args: null, malformed: expect.any(String) }]);
  expect(JSON.stringify(answer.content).length).toBeLessThan(3_000);
  streams(start(), proposing(500), end('tool_use'));
  expect((await ask()).content).toMatchObject([{ type: 'tool_call', args: { a: expect.any(Array) } }]);
});
