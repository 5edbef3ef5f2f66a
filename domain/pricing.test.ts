import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Usage } from './conversation.ts';
import { isStewardError } from './errors.ts';
import { PRICE_ROWS } from './prices.ts';
import { affordableOutput, priceOf, worstCase } from './pricing.ts';

const NOW = new Date('2026-11-20T12:00:00Z');
const MODELS = [...new Set(PRICE_ROWS.map((row) => row.model))];
const none: Usage = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, reasoning: 0 };

const model = fc.constantFrom(...MODELS);
const tokens = fc.nat({ max: 2_000_000 });

/** Usage of a call whose prompt has at most `input` tokens and whose answer at most `output`. */
const within = (input: number, output: number): fc.Arbitrary<Usage> =>
  fc
    .tuple(
      fc.nat({ max: input }),
      fc.nat({ max: input }),
      fc.nat({ max: output }),
      fc.double({ min: 0, max: 1, noNaN: true }),
    )
    .map(([a, b, out, share]) => ({
      input: Math.min(a, b),
      cacheRead: Math.max(a, b) - Math.min(a, b),
      cacheWrite: input - Math.max(a, b),
      output: out,
      reasoning: Math.floor(out * share),
    }));

const code = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    if (isStewardError(error)) return error.code;
  }
  return 'none';
};

test.each([
  ['claude-opus-5-5', { ...none, input: 1_000_000 }, 4_000_000],
  ['claude-opus-5-5', { ...none, output: 1_000_000 }, 20_000_000],
  ['claude-opus-5-5', { ...none, cacheRead: 1_000_000, cacheWrite: 1_000_000 }, 5_200_000],
  ['claude-opus-5-5', { ...none, output: 100, reasoning: 90 }, 2_000],
  ['claude-haiku-5-5', { ...none, input: 1 }, 1],
  ['claude-haiku-5-5', { ...none, input: 100_000, output: 1_000_000 }, 510_000],
  ['claude-haiku-5-5', { ...none, input: 60_000, cacheRead: 40_001, output: 1_000_000 }, 2_532_001],
  ['offline-1', none, 0],
] as const)('%s: %j costs %d micro-USD', (id, usage, expected) => {
  expect(priceOf(id, usage, NOW)).toBe(expected);
});

test('a price change counts from its day on, in UTC', () => {
  const read = { ...none, cacheRead: 1_000_000 };
  expect(priceOf('claude-sonnet-5-5', read, new Date('2026-10-06T23:59:59.999Z'))).toBe(200_000);
  expect(priceOf('claude-sonnet-5-5', read, new Date('2026-10-07T00:00:00Z'))).toBe(100_000);
});

test('an unknown model, a day before the first price and an impossible count are refused', () => {
  expect(code(() => priceOf('gpt-none', none, NOW))).toBe('MODEL_UNKNOWN');
  expect(code(() => worstCase('claude-opus-5-5', 1, 1, new Date('2025-01-01')))).toBe('MODEL_UNKNOWN');
  expect(code(() => priceOf('offline-1', { ...none, input: -1 }, NOW))).toBe('INTERNAL');
  expect(code(() => priceOf('offline-1', { ...none, output: 1.5 }, NOW))).toBe('INTERNAL');
  expect(code(() => affordableOutput('offline-1', Number.NaN, 10, NOW))).toBe('INTERNAL');
});

test('rows are whole, sourced, in order, and never cheaper for a long prompt', () => {
  for (const row of PRICE_ROWS) {
    expect(row.source).not.toBe('');
    expect(new Date(row.from).toISOString().slice(0, 10)).toBe(row.from);
    const all = [...Object.values(row.prices), ...Object.values(row.longPrompt?.prices ?? {})];
    expect(all.every((price) => Number.isSafeInteger(price) && price >= 0)).toBe(true);
    expect(row.prices.output).toBeGreaterThan(0);
    for (const [field, price] of Object.entries(row.longPrompt?.prices ?? {})) {
      expect(price).toBeGreaterThanOrEqual(row.prices[field as keyof Usage]);
    }
  }
  for (const id of MODELS) {
    const days = PRICE_ROWS.filter((row) => row.model === id).map((row) => row.from);
    expect(days).toEqual([...new Set(days)].sort());
  }
});

test('property: the worst case covers every usage within its bounds', () => {
  const call = fc
    .tuple(model, tokens, tokens)
    .chain(([id, input, output]) => fc.tuple(fc.constant({ id, input, output }), within(input, output)));
  fc.assert(
    fc.property(call, ([bounds, usage]) => {
      const price = priceOf(bounds.id, usage, NOW);
      expect(Number.isSafeInteger(price)).toBe(true);
      expect(worstCase(bounds.id, bounds.input, bounds.output, NOW)).toBeGreaterThanOrEqual(price);
    }),
  );
});

test('property: one token more never costs less', () => {
  const field = fc.constantFrom('input', 'output', 'cacheRead', 'cacheWrite', 'reasoning' as const);
  const usage = fc.record({ input: tokens, output: tokens, cacheRead: tokens, cacheWrite: tokens, reasoning: tokens });
  fc.assert(
    fc.property(model, usage, field, fc.integer({ min: 1, max: 200_000 }), (id, base, name, more) => {
      const dearer = { ...base, [name]: base[name as keyof Usage] + more };
      expect(priceOf(id, dearer, NOW)).toBeGreaterThanOrEqual(priceOf(id, base, NOW));
      expect(worstCase(id, base.input + more, base.output, NOW)).toBeGreaterThanOrEqual(
        worstCase(id, base.input, base.output, NOW),
      );
    }),
  );
});

test('property: the affordable output is the largest whose worst case fits the remainder', () => {
  fc.assert(
    fc.property(model, tokens, fc.nat({ max: 100_000_000 }), (id, input, remainder) => {
      const output = affordableOutput(id, input, remainder, NOW);
      expect(worstCase(id, input, output + 1, NOW)).toBeGreaterThan(remainder);
      if (output > 0) expect(worstCase(id, input, output, NOW)).toBeLessThanOrEqual(remainder);
    }),
  );
});
