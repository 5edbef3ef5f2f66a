import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { crossed, crossedWarnings, DEFAULT_LIMITS, lowerLimits, narrowLimits, type RunLimits } from './run.ts';

const KEYS = Object.keys(DEFAULT_LIMITS) as (keyof RunLimits)[];
const anyLimits = fc.record(
  Object.fromEntries(KEYS.map((key) => [key, fc.integer({ min: 1, max: 1_000 })])) as Record<
    keyof RunLimits,
    fc.Arbitrary<number>
  >,
);
const anyWish = fc.record(
  Object.fromEntries(KEYS.map((key) => [key, fc.integer({ min: -10, max: 2_000 })])) as Record<
    keyof RunLimits,
    fc.Arbitrary<number>
  >,
  { requiredKeys: [] },
);

test('narrowing never widens a limit, and takes every lower one', () => {
  fc.assert(
    fc.property(anyLimits, anyWish, (base, asked) => {
      const narrowed = narrowLimits(base, asked);
      for (const key of KEYS) {
        const wish = asked[key];
        expect(narrowed[key]).toBeLessThanOrEqual(base[key]);
        expect(narrowed[key]).toBeGreaterThan(0);
        expect(narrowed[key]).toBe(wish !== undefined && wish > 0 ? Math.min(wish, base[key]) : base[key]);
      }
      expect(narrowLimits(narrowed, asked)).toEqual(narrowed);
    }),
  );
});

test('a limit warns once on its way up, whatever the steps', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(40), { maxLength: 30 }), fc.integer({ min: 1, max: 200 }), (steps, of) => {
      let used = 0;
      let warned = 0;
      for (const step of steps) {
        warned += crossed('tokens', used, used + step, of).length;
        used += step;
      }
      expect(warned).toBe(used >= of * 0.75 ? 1 : 0);
    }),
  );
});

test.each([
  [0, 74, []],
  [0, 75, [{ limit: 'budget', used: 75, of: 100 }]],
  [74, 200, [{ limit: 'budget', used: 200, of: 100 }]],
  [75, 80, []],
])('from %i to %i of 100: %j', (was, is, warnings) => {
  expect(crossed('budget', was, is, 100)).toEqual(warnings);
});

test('every limit of a run is watched, each under its own name', () => {
  const none = { modelCalls: 0, toolCalls: 0, tokens: 0, activeMs: 0, spent: 0 };
  const all = { modelCalls: 15, toolCalls: 38, tokens: 1_500_000, activeMs: 8_100_000, spent: 375_000 };
  expect(crossedWarnings(none, all, DEFAULT_LIMITS, 500_000).map((warning) => warning.limit)).toEqual([
    'model_calls',
    'tool_calls',
    'tokens',
    'active_time',
    'budget',
  ]);
  expect(crossedWarnings(all, all, DEFAULT_LIMITS, 500_000)).toEqual([]);
});

test('of two limits the lower counts, zero included', () => {
  const none = { ...DEFAULT_LIMITS, toolCalls: 0 };
  const few = { ...DEFAULT_LIMITS, modelCalls: 2 };
  expect(lowerLimits(none, few)).toEqual({ ...DEFAULT_LIMITS, toolCalls: 0, modelCalls: 2 });
  expect(lowerLimits(few, none)).toEqual(lowerLimits(none, few));
});
