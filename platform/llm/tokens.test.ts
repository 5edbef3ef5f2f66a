import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { tokenUpperBound } from './tokens.ts';

const bytes = (text: string): number => Buffer.byteLength(text);

test('property: between a third of the bytes and the bytes, and never less for more text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 50 }), (text, more) => {
      const bound = tokenUpperBound(text);
      expect(bound).toBeLessThanOrEqual(bytes(text) + (text.isWellFormed() ? 0 : text.length));
      expect(bound * 2 + 1).toBeGreaterThanOrEqual(bytes(text.toWellFormed()) / 1.5);
      expect(tokenUpperBound(text + more)).toBeGreaterThanOrEqual(bound);
    }),
  );
});

test.each([
  ['', 0],
  ['a', 1],
  ['The quick brown fox', 10],
  ['release', 4],
  ['TODO', 4],
  ['1234567', 7],
  ['Привет', 12],
  ['完成', 6],
  ['😀', 4],
  ['a3f9', 4],
  [' '.repeat(10), 10],
  ['x'.repeat(64), 64],
])('%j is at most %d tokens', (text, expected) => {
  expect(tokenUpperBound(text)).toBe(expected);
});

test('prose is not overestimated beyond half of its bytes by much', () => {
  const prose = 'Close out the release: mark finished tasks as done, remove duplicates and tell the client. '.repeat(
    20,
  );
  expect(tokenUpperBound(prose) / bytes(prose)).toBeLessThan(0.65);
});
