import { expect, test } from '@jest/globals';
import { callSignature } from './call-signature.ts';

test('the same call has the same signature, whatever the order of its fields', () => {
  expect(callSignature('t', '{"a":1,"b":[2]}')).toBe(callSignature('t', '{ "b": [2], "a": 1.0 }'));
  expect(callSignature('t', '{"a":1}')).not.toBe(callSignature('u', '{"a":1}'));
  expect(callSignature('t', '{"a":1}')).not.toBe(callSignature('t', '{"a":2}'));
  expect(callSignature('t', '{}')).toMatch(/^[0-9a-f]{16}$/);
});

test('what has no canonical form has a signature too', () => {
  const odd = ['', '{"a":', '{"a":1e300}', '{"a":9007199254740993}', '"\\ud800"', '['.repeat(100) + ']'.repeat(100)];
  const signatures = odd.map((text) => callSignature('t', text));
  expect(new Set(signatures).size).toBe(odd.length);
  expect(callSignature('t', '{"a":')).toBe(callSignature('t', '{"a":'));
});
