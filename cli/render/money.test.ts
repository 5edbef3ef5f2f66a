import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { amountAtLeast, dollars, parseDollars } from './money.ts';

test('micro-USD read as dollars with four decimals', () => {
  expect(dollars(0)).toBe('$0.0000');
  expect(dollars(12_300)).toBe('$0.0123');
  expect(dollars(12_350n)).toBe('$0.0124');
  expect(dollars(500_000n)).toBe('$0.5000');
  expect(dollars(1_234_567_890_000n)).toBe('$1,234,567.8900');
  expect(dollars(-1_500)).toBe('-$0.0015');
});

test('something never reads as nothing', () => {
  expect(dollars(1)).toBe('<$0.0001');
  expect(dollars(49n)).toBe('<$0.0001');
  expect(dollars(50n)).toBe('$0.0001');
});

test('amounts as typed', () => {
  expect(parseDollars('$0.20')).toBe(200_000n);
  expect(parseDollars('0.2')).toBe(200_000n);
  expect(parseDollars('12')).toBe(12_000_000n);
  expect(parseDollars('0.000001')).toBe(1n);
  for (const bad of ['', '-1', '0.0000001', '1e3', '0,20', 'bash.20', '$', '.5']) expect(parseDollars(bad)).toBeNull();
});

test('an amount to type is never less than what is needed', () => {
  expect(amountAtLeast(34_501)).toBe('0.0346');
  expect(amountAtLeast(1_500_000_000)).toBe('1500.0000');
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2_000_000_000 }), (micro) => {
      expect(Number(parseDollars(amountAtLeast(micro)))).toBeGreaterThanOrEqual(micro);
    }),
  );
});
