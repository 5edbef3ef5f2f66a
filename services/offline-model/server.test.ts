import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { AssistantBlock, Message, ToolCallBlock, Usage } from '#domain/conversation.ts';
import { isStewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelPort, ModelRequest, ModelTool } from '#domain/ports/model.ts';
import { type AnthropicOptions, createAnthropicModel } from '#platform/llm/anthropic.ts';
import { type OfflineModel, startOfflineModel } from './server.ts';

const tool = (name: string): ModelTool => ({ name, description: `Does ${name}.`, inputSchema: { type: 'object' } });
const TOOLS = ['list_projects', 'list_tasks_in_project'].map(tool);
const INSTRUCTIONS = 'You help people with their projects. '.repeat(20);

let server: OfflineModel;
let adapter: ModelPort;
let runs = 0;

beforeAll(async () => {
  server = await startOfflineModel();
  adapter = model();
});
afterAll(() => server.close());

function model(options: Partial<AnthropicOptions> = {}): ModelPort {
  return createAnthropicModel({ apiKey: 'any', baseUrl: server.url, ...options });
}

function request(text: string, changes: Partial<ModelRequest> = {}): ModelRequest {
  runs += 1;
  return {
    model: 'offline-1',
    system: INSTRUCTIONS,
    tools: TOOLS,
    messages: [{ role: 'user', content: [{ type: 'text', text }] }],
    maxOutputTokens: 4_000,
    turn: 0,
    runId: `run-${runs}`,
    ...changes,
  };
}

const scripted = (script: string, params: object = {}, changes: Partial<ModelRequest> = {}): ModelRequest =>
  request(`script: ${script}\nparams: ${JSON.stringify(params)}`, changes);

const ask = (of: ModelRequest, port: ModelPort = adapter): Promise<ModelAnswer> =>
  port.complete(of, () => {}, new AbortController().signal);

const callsIn = (answer: ModelAnswer): readonly ToolCallBlock[] =>
  answer.content.filter((block) => block.type === 'tool_call');

const textIn = (answer: ModelAnswer): string =>
  answer.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');

/** The next request of the same run: what the model said, and a result for each of its calls. */
function next(
  before: ModelRequest,
  answer: ModelAnswer,
  edit = (content: readonly AssistantBlock[]) => content,
): ModelRequest {
  const results = callsIn(answer).map(({ callId, providerId, tool: name }) => {
    const text = JSON.stringify({ from: name, padding: 'x'.repeat(60) });
    return { type: 'tool_result' as const, callId, providerId, text, isError: false };
  });
  const messages: Message[] = [
    ...before.messages,
    { role: 'assistant', content: edit(answer.content) },
    { role: 'user', content: results.length > 0 ? results : [{ type: 'text', text: 'Go on.' }] },
  ];
  return { ...before, messages, turn: before.turn + 1 };
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

const seenOf = (of: ModelRequest): OfflineModel['requests'] =>
  server.requests.filter((seen) => seen.userId === of.runId);
const prompt = (usage: Usage): number => usage.input + usage.cacheRead + usage.cacheWrite;

test('streams text in order and returns it with usage, model and request id', async () => {
  const deltas: string[] = [];
  const of = scripted('echo');
  const answer = await adapter.complete(of, (delta) => deltas.push(delta), new AbortController().signal);
  expect(answer).toMatchObject({ stop: 'end_turn', model: 'offline-1', requestId: expect.stringMatching(/^req_/) });
  expect(textIn(answer)).toMatch(/^You said: script: echo/);
  expect(deltas.length).toBeGreaterThan(1);
  expect(deltas.join('')).toBe(textIn(answer));
  expect(answer.usage.output).toBeGreaterThan(0);
  expect(prompt(answer.usage)).toBeLessThanOrEqual(adapter.estimateInputTokens(of));
});

test('takes many calls of one turn in order, under ids of ours', async () => {
  const of = scripted('many-calls', { vary: 'page' }, { turn: 7 });
  const calls = callsIn(await ask(of));
  expect(calls.map((call) => call.callId)).toEqual(Array.from({ length: 12 }, (_, index) => `7.${index}`));
  expect(calls.map((call) => call.args)).toEqual(Array.from({ length: 12 }, (_, index) => ({ page: index + 1 })));
  expect(new Set(calls.map((call) => call.providerId)).size).toBe(12);
});

test('sends thinking back byte for byte, and the provider notices when it is not', async () => {
  const of = scripted('plan', { thinking: 'Hm — “what” now? 🤔', turns: [[{ tool: 'list_projects' }]] });
  const answer = await ask(of);
  expect(answer.content[0]).toEqual({
    type: 'thinking',
    provider: 'anthropic',
    data: { type: 'thinking', thinking: 'Hm — “what” now? 🤔', signature: expect.stringMatching(/.{20,}/) },
  });
  expect(answer.usage.reasoning).toBeGreaterThan(0);
  expect(answer.usage.reasoning).toBeLessThan(answer.usage.output);
  expect(textIn(await ask(next(of, answer)))).toBe('Done.');

  const stored = JSON.parse(JSON.stringify(answer)) as ModelAnswer;
  expect(textIn(await ask(next(of, stored)))).toBe('Done.');

  const tampered = next(of, answer, (content) =>
    content.map((block) =>
      block.type === 'thinking' ? { ...block, data: { ...block.data, thinking: 'Something else.' } } : block,
    ),
  );
  const dropped = next(of, answer, (content) => content.filter((block) => block.type !== 'thinking'));
  const foreign = next(of, answer, (content) =>
    content.map((block) => (block.type === 'thinking' ? { ...block, provider: 'other' } : block)),
  );
  const moved = { ...next(of, answer), system: 'Other instructions.' };
  for (const [bad, why] of [
    [tampered, /Invalid `signature` in `thinking` block/],
    [moved, /what stands before it/],
    [dropped, /Expected `thinking` or `redacted_thinking`/],
    [foreign, /Expected `thinking` or `redacted_thinking`/],
  ] as const) {
    expect(await failure(ask(bad))).toMatchObject({
      code: 'MODEL_REQUEST_REFUSED',
      message: expect.stringMatching(why),
    });
  }
});

test('sends sealed thinking back', async () => {
  const of = scripted('echo', { sealed: 'nobody reads this' });
  const answer = await ask(of);
  expect(answer.content[0]).toMatchObject({
    type: 'thinking',
    data: { type: 'redacted_thinking', data: expect.any(String) },
  });
  expect((await ask(next(of, answer))).stop).toBe('end_turn');
});

test('reads from the cache what the turn before has written, also after more blocks than are looked back over', async () => {
  const twelve = Array.from({ length: 12 }, (_, page) => ({ tool: 'list_tasks_in_project', args: { page } }));
  const system = `Nobody else is told this. ${INSTRUCTIONS}`;
  const first = scripted('plan', { turns: [[{ tool: 'list_projects' }], twelve] }, { system });
  const one = await ask(first);
  const second = next(first, one);
  const two = await ask(second);
  const three = await ask(next(second, two));
  expect(one.usage.cacheWrite).toBeGreaterThan(one.usage.cacheRead);
  expect(two.usage.cacheRead).toBe(one.usage.cacheRead + one.usage.cacheWrite);
  expect(three.usage.cacheRead).toBe(two.usage.cacheRead + two.usage.cacheWrite);
  expect(three.usage.cacheWrite).toBeGreaterThan(0);
});

test('the estimate covers what every turn of a conversation is billed', async () => {
  let of = scripted('long-loop', { turns: 6, vary: 'page', args: { note: 'Ünïcödé 完成 {"a":[1,2,3]}' } });
  for (;;) {
    const answer = await ask(of);
    expect(adapter.estimateInputTokens(of)).toBeGreaterThanOrEqual(prompt(answer.usage));
    if (answer.stop === 'end_turn') break;
    of = next(of, answer);
  }
  expect(of.turn).toBe(6);
});

test.each([
  ['{"project_id": "p-1", "sta', null],
  ['[1, 2]', null],
  ['null', null],
  ['"text"', null],
  ['', {}],
  ['{"a": {"b": [1]}}', { a: { b: [1] } }],
])('arguments %j are kept as they came', async (raw, args) => {
  const of = scripted('malformed-json', { raw });
  const answer = await ask(of);
  expect(answer.stop).toBe('tool_use');
  expect(callsIn(answer)[0]).toMatchObject({ args, ...(args === null ? { malformed: raw } : {}) });
  expect(textIn(await ask(next(of, answer)))).toMatch(/^The result was/);
});

test('an unknown tool and a refusal are answers; nothing of a refusal can run', async () => {
  expect(callsIn(await ask(scripted('unknown-tool')))[0]?.tool).toBe('no_such_tool');
  expect(await ask(scripted('refusal'))).toMatchObject({ stop: 'refusal', content: [] });
});

test.each([
  ['slow-stream', { everyMs: 0 }, 'text'],
  ['plan', { turns: [[{ tool: 'list_projects', args: { note: 'x'.repeat(400) } }]] }, 'tool_call'],
])('%s is cut at its cap and says so', async (script, params, last) => {
  const answer = await ask(scripted(script, params, { maxOutputTokens: 30 }));
  expect(answer.stop).toBe('length');
  expect(answer.usage.output).toBe(30);
  expect(answer.content.at(-1)?.type).toBe(last);
  if (last === 'tool_call')
    expect(callsIn(answer)[0]).toMatchObject({ args: null, malformed: expect.stringContaining('xx') });
});

const inTenMinutes = new Date(Date.now() + 600_000).toUTCString();
const counted = { usage: expect.objectContaining({ output: expect.any(Number) }) };

test.each([
  ['rate-limited', {}, 'MODEL_RATE_LIMITED', { status: 429, retryAfterMs: 1_000 }],
  ['rate-limited', { retryAfter: 99_999_999 }, 'MODEL_RATE_LIMITED', { retryAfterMs: 3_600_000 }],
  ['rate-limited', { retryAfter: 'Wed, 21 Oct 2015 07:28:00 GMT' }, 'MODEL_RATE_LIMITED', { retryAfterMs: 0 }],
  ['overloaded', { retryAfter: '2.5' }, 'MODEL_OVERLOADED', { status: 529, retryAfterMs: 2_500 }],
  ['overloaded', { retryAfter: inTenMinutes }, 'MODEL_OVERLOADED', { retryAfterMs: expect.any(Number) }],
  ['http-error', { status: 401 }, 'MODEL_AUTH', { status: 401 }],
  ['http-error', { status: 402 }, 'MODEL_AUTH', {}],
  ['http-error', { status: 403 }, 'MODEL_AUTH', {}],
  ['http-error', { status: 400 }, 'MODEL_REQUEST_REFUSED', { requestId: expect.stringMatching(/^req_/) }],
  ['http-error', { status: 404 }, 'MODEL_REQUEST_REFUSED', {}],
  ['http-error', { status: 413 }, 'MODEL_REQUEST_REFUSED', {}],
  ['http-error', { status: 408 }, 'MODEL_UNAVAILABLE', {}],
  ['http-error', { status: 500 }, 'MODEL_UNAVAILABLE', { status: 500 }],
  ['http-error', { status: 503, retryAfter: 3 }, 'MODEL_UNAVAILABLE', { retryAfterMs: 3_000 }],
  ['empty', {}, 'MODEL_BAD_ANSWER', counted],
  ['cut-stream', {}, 'MODEL_CUT_OFF', counted],
  ['cut-stream', { clean: true }, 'MODEL_CUT_OFF', counted],
  ['cut-stream', { clean: true, afterPieces: 0 }, 'MODEL_CUT_OFF', counted],
  ['error-event', {}, 'MODEL_OVERLOADED', counted],
  ['error-event', { type: 'api_error' }, 'MODEL_UNAVAILABLE', counted],
  ['hang', { afterPieces: 2 }, 'MODEL_CUT_OFF', counted],
  ['hang', {}, 'MODEL_UNAVAILABLE', { unobserved: true }],
] as const)('%s %j fails with %s, and the next try succeeds', async (script, params, code, details) => {
  const of = scripted(script, params);
  // Short only where silence is the point: a busy machine is silent too.
  const port = script === 'hang' ? model({ idleTimeoutMs: 500, responseTimeoutMs: 500 }) : adapter;
  const failed = await failure(ask(of, port));
  expect(failed).toMatchObject({ code, details });
  if (script !== 'hang') expect(failed.details).not.toHaveProperty('unobserved');
  expect(textIn(await ask(of))).toBe('Here I am.');
  expect(seenOf(of)).toHaveLength(2);
});

test('a cut stream is counted from above: as billed where known, by its text where not', async () => {
  const text = 'A long answer, of which not all arrives. '.repeat(30);
  const of = scripted('cut-stream', { text, afterPieces: 12 });
  const cut = (await failure(ask(of))).details.usage as Usage;
  const full = (await ask(of)).usage;
  expect(prompt(cut)).toBe(prompt(full));
  expect(cut.output).toBeGreaterThanOrEqual(Math.ceil((11 * 24) / 4));
  expect(cut.output).toBeLessThan(of.maxOutputTokens);
  const capped = { ...scripted('cut-stream', { text, afterPieces: 12 }), maxOutputTokens: 50 };
  expect((await failure(ask(capped))).details.usage).toMatchObject({ output: 50 });
});

test('thinking that broke off is counted at the cap, since it is not shown whole', async () => {
  const ponder = {
    name: 'ponder',
    answer: () => ({ thinking: 'Hm. '.repeat(100), fault: { kind: 'cut', afterPieces: 3 } as const }),
  };
  const other = await startOfflineModel({ scripts: [ponder] });
  try {
    const of = scripted('ponder');
    const failed = await failure(ask(of, createAnthropicModel({ apiKey: 'any', baseUrl: other.url })));
    expect(failed).toMatchObject({ code: 'MODEL_CUT_OFF', details: { usage: { output: of.maxOutputTokens } } });
  } finally {
    await other.close();
  }
});

test('cancelling closes the connection at once and tells what was counted', async () => {
  const of = scripted('slow-stream', { everyMs: 20 });
  const abort = new AbortController();
  const failed = failure(adapter.complete(of, () => abort.abort(), abort.signal));
  expect(await failed).toMatchObject({ code: 'CANCELLED', details: counted });
  const seen = await seenOf(of)[0]?.ended;
  expect(seen).toMatchObject({ outcome: 'closed', script: 'slow-stream' });
});

test('cancelling before an answer has begun leaves the call unobserved; before it was sent, nothing is sent', async () => {
  const of = scripted('hang');
  const abort = new AbortController();
  const failed = failure(adapter.complete(of, () => {}, abort.signal));
  const giveUp = Date.now() + 10_000;
  while (seenOf(of).length === 0 && Date.now() < giveUp) await new Promise(setImmediate);
  abort.abort();
  expect(await failed).toMatchObject({ code: 'CANCELLED', details: { unobserved: true } });
  expect(await seenOf(of)[0]?.ended).toMatchObject({ outcome: 'closed' });

  const late = scripted('echo');
  expect((await failure(adapter.complete(late, () => {}, abort.signal))).code).toBe('CANCELLED');
  expect(seenOf(late)).toHaveLength(0);
});

test('nobody listening is no charge', async () => {
  const gone = await startOfflineModel();
  await gone.close();
  const failed = await failure(ask(request('hello'), createAnthropicModel({ apiKey: 'any', baseUrl: gone.url })));
  expect(failed).toMatchObject({ code: 'MODEL_UNAVAILABLE', details: {} });
  expect(failed.details).not.toHaveProperty('unobserved');
});

test('what no script answers is refused by name', async () => {
  const unplanned = await failure(ask(request('Good morning')));
  expect(unplanned).toMatchObject({
    code: 'MODEL_REQUEST_REFUSED',
    message: expect.stringContaining('no script for "Good morning"'),
  });
  const over = scripted('many-calls');
  const second = next(over, await ask(over));
  const past = await failure(ask(next(second, await ask(second))));
  expect(past.message).toContain('script "many-calls" has no answer for turn 2: it has 2 turns');
  expect((await failure(ask(scripted('echo', {}, { model: 'claude-none' })))).message).toContain('model: claude-none');
});

test('a restarted server goes on where the old one was: same answer, same ids, same signatures', async () => {
  const of = scripted('plan', { thinking: 'Hm.', turns: [[{ tool: 'list_projects' }]] });
  const before = await ask(of);
  const other = await startOfflineModel();
  try {
    const port = createAnthropicModel({ apiKey: 'any', baseUrl: other.url });
    expect((await ask(of, port)).content).toEqual(before.content);
    expect(textIn(await ask(next(of, before), port))).toBe('Done.');
  } finally {
    await other.close();
  }
});

test('answers without a stream too', async () => {
  const client = new Anthropic({ apiKey: 'any', baseURL: server.url, maxRetries: 0 });
  const message = await client.messages.create({
    model: 'claude-opus-5-5',
    max_tokens: 500,
    messages: [
      { role: 'user', content: 'script: plan\nparams: {"turns": [[{"tool": "list_projects", "args": {"n": 1}}]]}' },
    ],
  });
  expect(message).toMatchObject({
    stop_reason: 'tool_use',
    content: [{ type: 'text' }, { type: 'tool_use', name: 'list_projects', input: { n: 1 } }],
  });
});
