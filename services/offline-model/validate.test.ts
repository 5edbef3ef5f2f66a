import { expect, test } from '@jest/globals';
import { validate } from './validate.ts';
import { ApiError } from './wire.ts';

const user = (...content: object[]): object => ({ role: 'user', content });
const assistant = (...content: object[]): object => ({ role: 'assistant', content });
const text = (said = 'hi'): object => ({ type: 'text', text: said });
const use = (id: string): object => ({ type: 'tool_use', id, name: 'look', input: {} });
const result = (id: string): object => ({ type: 'tool_result', tool_use_id: id, content: 'ok' });
const marked = { ...text(), cache_control: { type: 'ephemeral' } };
const body = (changes: object = {}): object => ({
  model: 'offline-1',
  max_tokens: 10,
  messages: [user(text())],
  ...changes,
});

test('takes what the API takes', () => {
  expect(validate(body()).stream).toBe(false);
  expect(validate(body({ system: 'Be kind.', messages: [{ role: 'user', content: 'hi' }] })).system).toHaveLength(1);
  const messages = [user(text()), assistant(use('a'), use('b')), user(result('b'), result('a'), text())];
  expect(validate(body({ messages })).messages).toHaveLength(3);
});

test.each([
  ['no model', { model: undefined }, 400, /^model: /],
  ['an unknown model', { model: 'gpt-9' }, 404, /^model: gpt-9/],
  ['no max_tokens', { max_tokens: undefined }, 400, /^max_tokens: /],
  ['no room for an answer', { max_tokens: 0 }, 400, /^max_tokens: /],
  ['more than the model can write', { max_tokens: 64_001 }, 400, /64001 > 64000/],
  ['a field nobody knows', { tempo: 1 }, 400, /tempo/],
  ['no messages', { messages: [] }, 400, /^messages: /],
  ['an empty text', { messages: [user(text(''))] }, 400, /non-empty/],
  ['an empty message', { messages: [user()] }, 400, /^messages.0.content/],
  ['a block nobody knows', { messages: [user({ type: 'image' })] }, 400, /^messages.0.content.0/],
  ['an assistant first', { messages: [assistant(text())] }, 400, /roles must alternate/],
  ['two users in a row', { messages: [user(text()), user(text())] }, 400, /roles must alternate/],
  ['an assistant last', { messages: [user(text()), assistant(text())] }, 400, /last message/],
  [
    'an unanswered call',
    { messages: [user(text()), assistant(use('a'), use('b')), user(result('a'))] },
    400,
    /without `tool_result`.*: b\./,
  ],
  [
    'a result without a call',
    { messages: [user(text()), assistant(text()), user(result('a'))] },
    400,
    /unexpected `tool_use_id`.*: a\./,
  ],
  [
    'two results of a call',
    { messages: [user(text()), assistant(use('a')), user(result('a'), result('a'))] },
    400,
    /two results/,
  ],
  ['two calls of an id', { messages: [user(text()), assistant(use('a'), use('a')), user(result('a'))] }, 400, /unique/],
  [
    'text before results',
    { messages: [user(text()), assistant(use('a')), user(text(), result('a'))] },
    400,
    /before text/,
  ],
  [
    'arguments that are no object',
    { messages: [user(text()), assistant({ ...use('a'), input: null }), user(result('a'))] },
    400,
    /input/,
  ],
  ['two tools of a name', { tools: [tool('a'), tool('a')] }, 400, /unique/],
  ['a tool name with a dot', { tools: [tool('a.b')] }, 400, /^tools.0.name/],
  ['a schema that is no object', { tools: [{ name: 'a', input_schema: { type: 'array' } }] }, 400, /input_schema/],
  ['five breakpoints', { messages: [user(marked, marked, marked, marked, marked)] }, 400, /maximum of 4.*Found 5/],
  [
    'invented thinking',
    { messages: [user(text()), assistant({ type: 'thinking', thinking: 'x', signature: 'y' }), user(text())] },
    400,
    /Invalid `signature`/,
  ],
  [
    'invented sealed thinking',
    { messages: [user(text()), assistant({ type: 'redacted_thinking', data: 'x' }), user(text())] },
    400,
    /Invalid `signature`/,
  ],
])('refuses %s', (_, changes, status, message) => {
  let refusal: unknown;
  try {
    validate(JSON.parse(JSON.stringify(body(changes))));
  } catch (error) {
    refusal = error;
  }
  expect(refusal).toBeInstanceOf(ApiError);
  expect(refusal).toMatchObject({ status, message: expect.stringMatching(message) });
});

function tool(name: string): object {
  return { name, input_schema: { type: 'object' } };
}
