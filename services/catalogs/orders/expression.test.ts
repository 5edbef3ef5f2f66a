import { expect, test } from '@jest/globals';
import { calculate, ExpressionError, MAX_EXPRESSION } from './expression.ts';

test.each([
  ['2 + 2', '4.0'],
  ['2+3*4', '14.0'],
  ['(2 + 3) * 4', '20.0'],
  ['100 / 8', '12.5'],
  ['10 - 4 - 3', '3.0'],
  ['-17.99', '-17.99'],
  ['--2', '2.0'],
  ['1 / 3', '0.33'],
  ['.5 + 1.', '1.5'],
  ['1126.04', '1126.04'],
])('%s is %s', (text, value) => {
  expect(calculate(text)).toBe(value);
});

test.each([
  '',
  '1 +',
  '(1',
  '1)',
  '2 3',
  '2 ** 3',
  '4 // 2',
  '1 / 0',
  'x',
  '1e3',
  '1..2',
  '()',
  '1'.repeat(MAX_EXPRESSION + 1),
])('%s is no expression', (text) => {
  expect(() => calculate(text)).toThrow(ExpressionError);
});

test('depth is bounded by length', () => {
  const half = Math.floor(MAX_EXPRESSION / 2) - 1;
  expect(calculate(`${'('.repeat(half)}7${')'.repeat(half)}`)).toBe('7.0');
});
