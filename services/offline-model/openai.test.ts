import { afterAll, beforeAll, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { openAiWire } from './openai.ts';
import { sealed } from './openai-items.ts';
import { type OfflineModel, startOfflineModel } from './server.ts';
import { ApiError } from './wire.ts';

let server: OfflineModel;

beforeAll(async () => {
  server = await startOfflineModel();
});
afterAll(() => server.close());

const user = (content: unknown = 'hi'): object => ({ role: 'user', content });
const call = (call_id: string, args = '{}'): object => ({
  type: 'function_call',
  call_id,
  name: 'look',
  arguments: args,
});
const output = (call_id: string, text = 'ok'): object => ({ type: 'function_call_output', call_id, output: text });
const reasoning = (encrypted_content: string): object => ({
  type: 'reasoning',
  id: 'rs_1',
  summary: [],
  encrypted_content,
});
const body = (changes: object = {}): object => ({ model: 'gpt-6-sol', input: 'hi', store: false, ...changes });

test('takes what the API takes, as messages of alternating roles', () => {
  expect(openAiWire.read(body()).messages).toHaveLength(1);
  const input = [
    user([{ type: 'input_text', text: 'hi' }]),
    reasoning(sealed('Hm.')),
    { role: 'assistant', content: 'I look.', phase: 'commentary' },
    call('a'),
    call('b'),
    output('b'),
    output('a', '[error]\nno'),
    user('go on'),
  ];
  const { messages } = openAiWire.read(body({ input, instructions: 'Be kind.', prompt_cache_key: 'run-1' }));
  expect(messages.map((message) => message.role)).toEqual(['user', 'assistant', 'user']);
  expect(messages[1]?.content.map((block) => block.type)).toEqual(['text', 'tool_use', 'tool_use']);
  expect(messages[2]?.content).toMatchObject([
    { tool_use_id: 'b' },
    { tool_use_id: 'a', content: 'no', is_error: true },
    { type: 'text', text: 'go on' },
  ]);
});

test.each([
  ['an unknown model', { model: 'gpt-9' }, 404, /^model: gpt-9/],
  ['state at the provider', { store: true }, 400, /store: false/],
  ['a field nobody knows', { tempo: 1 }, 400, /tempo/],
  ['no input', { input: [] }, 400, /^input/],
  ['an empty text', { input: [user('')] }, 400, /^input/],
  ['less room than the least', { max_output_tokens: 15 }, 400, /max_output_tokens/],
  ['more than the model can write', { max_output_tokens: 128_001 }, 400, /128001 > 128000/],
  ['an unanswered call', { input: [user(), call('a'), user()] }, 400, /No tool output found for function call a/],
  ['an output without a call', { input: [user(), output('a')] }, 400, /No tool call found.*a\./],
  ['two calls of an id', { input: [user(), call('a'), call('a'), output('a')] }, 400, /two function calls/],
  ['two outputs of a call', { input: [user(), call('a'), output('a'), output('a')] }, 400, /two outputs/],
  ['arguments that are no JSON', { input: [user(), call('a', '{oops'), output('a')] }, 400, /no JSON/],
  ['an id of odd form', { input: [user(), call('a:b'), output('a:b')] }, 400, /^input/],
  ['forged reasoning', { input: [user(), reasoning('aGk.xx'), call('a'), output('a')] }, 400, /could not be verified/],
  ['reasoning on its own', { input: [user(), reasoning(sealed('Hm.')), user()] }, 400, /required following item/],
  ['an assistant last', { input: [user(), { role: 'assistant', content: 'hi' }] }, 400, /last message/],
])('%s is refused', (_, changes, status, message) => {
  try {
    openAiWire.read(body(changes));
  } catch (error) {
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status, message: expect.stringMatching(message) });
    return;
  }
  throw new Error('it was taken');
});

test("answers the real SDK without a stream too, and refuses in the API's form", async () => {
  const client = new OpenAI({ apiKey: 'any', baseURL: `${server.url}/v1`, maxRetries: 0, logLevel: 'off' });
  const input = 'script: plan\nparams: {"thinking": "Hm.", "turns": [[{"tool": "list_projects", "args": {"n": 1}}]]}';
  const response = await client.responses.create({ model: 'gpt-6-sol', input, store: false });
  expect(response).toMatchObject({
    status: 'completed',
    output: [{ type: 'reasoning' }, { type: 'message' }, { type: 'function_call', arguments: '{"n":1}' }],
    usage: { output_tokens_details: { reasoning_tokens: 1 } },
  });
  expect(response.output_text).toBe('Turn 1 of 1.');
  const refused = client.responses.create({ model: 'gpt-6-sol', input: 'Good morning', store: false });
  await expect(refused).rejects.toMatchObject({
    status: 400,
    type: 'invalid_request_error',
    message: expect.stringContaining('no script for "Good morning"'),
  });
});
