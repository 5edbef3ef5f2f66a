import { expect, test } from '@jest/globals';
import { readArguments } from './arguments.ts';

const read = (argsJson: string, malformed = '') => readArguments({ argsJson, malformed });

test('takes any JSON object with one faithful spelling', () => {
  expect(read('{}')).toEqual({ args: {} });
  expect(read('{"a":[1,2.5,"é",null,{"b":true}]}')).toEqual({ args: { a: [1, 2.5, 'é', null, { b: true }] } });
});

test.each([
  ['nothing', '', '', /missing/],
  ['cut JSON', '', '{"a": 1', /no JSON/],
  ['an array', '', '[1]', /an array/],
  ['null', '', 'null', /are null/],
  ['text handed over as arguments', '"x"', '', /a string/],
  ['an integer that loses digits', '{"a":9007199254740993}', '', /2\^53/],
  ['a number too large', '{"a":1e999}', '', /finite/],
  ['half a surrogate pair', '{"a":"\\ud800"}', '', /surrogate/],
  ['a NUL character', '{"a":{"b":["\\u0000"]}}', '', /NUL/],
  ['a NUL character in a key', '{"a\\u0000":1}', '', /NUL/],
  ['a key that is no field', '{"__proto__":1}', '', /__proto__/],
  ['deep nesting', `{"a":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, '', /nested/],
])('refuses %s in words', (_name, json, malformed, message) => {
  const { faults } = read(json, malformed);
  expect(faults).toHaveLength(1);
  expect(faults?.[0]).toMatch(message);
});

test('two backslashes before u0000 are text, and no NUL', () => {
  expect(read('{"a":"\\\\u0000"}').faults).toBeUndefined();
});
