import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  amountsOf,
  breaches,
  breachText,
  DEFAULT_QUANTITY_LIMITS,
  limitsInForce,
  needsPreview,
  parseQuantity,
  type QuantityLimit,
  usedAfter,
} from './quantities.ts';

test.each([
  ['refund.cents', { name: 'refund.cents', from: { kind: 'preview' } }],
  ['rows.deleted=1', { name: 'rows.deleted', from: { kind: 'constant', amount: 1 } }],
  ['refund.cents=amount_cents', { name: 'refund.cents', from: { kind: 'field', field: 'amount_cents' } }],
  ['emails=count(to)', { name: 'emails', from: { kind: 'count', field: 'to' } }],
])('reads %s', (text, quantity) => {
  expect(parseQuantity(text)).toEqual(quantity);
});

test.each(['', 'Emails', 'a=', 'a=count()', 'a=-1', 'a=1.5', 'a=b.c', 'a b', 'a=count(to', 'a.b.c'])(
  '%j is none',
  (text) => {
    expect(parseQuantity(text)).toBeNull();
  },
);

test('amounts come from where they are declared, and what cannot be told is told', () => {
  const declared = ['emails=count(to)', 'refund.cents=amount', 'rows.deleted=1', 'charge.cents'];
  expect(needsPreview(declared)).toBe(true);
  expect(needsPreview(declared.slice(0, 3))).toBe(false);
  const args = { to: ['a', 'b'], amount: 120 };
  expect(amountsOf(declared, args, { 'charge.cents': 7 })).toEqual({
    emails: 2,
    'refund.cents': 120,
    'rows.deleted': 1,
    'charge.cents': 7,
  });
  expect(amountsOf(declared, args, {})).toHaveProperty(['charge.cents'], 0);
  expect(amountsOf(declared, args, null)).toBeNull();
  for (const wrong of [
    { to: 'a', amount: 1 },
    { to: [], amount: '1' },
    { to: [], amount: -1 },
    { to: [], amount: 0.5 },
    {},
  ]) {
    expect(amountsOf(declared, wrong, {})).toBeNull();
  }
});

test('a tenant’s own limit takes the place of the default of its quantity and scope, and of no other', () => {
  const own: QuantityLimit = { quantity: 'rows.deleted', scope: 'user-hour', amount: null, outcome: 'deny', tier: 0 };
  const inForce = limitsInForce([own]);
  expect(inForce).toHaveLength(DEFAULT_QUANTITY_LIMITS.length);
  expect(inForce.filter(({ quantity }) => quantity === 'rows.deleted')).toEqual([own]);
  expect(breaches({ 'rows.deleted': 1_000 }, {}, inForce)).toEqual([]);
});

test('what just fits, fits; one more does not, and says so', () => {
  const limits: QuantityLimit[] = [{ quantity: 'emails', scope: 'user-day', amount: 10, outcome: 'deny', tier: 0 }];
  const used = { emails: { 'user-day': 7 } };
  expect(breaches({ emails: 3 }, used, limits)).toEqual([]);
  const [breach] = breaches({ emails: 4 }, used, limits);
  expect(breach && breachText(breach)).toBe(
    '4 emails is more than the limit leaves: 10 for this user within 24 hours, 3 left',
  );
});

test('calls judged in order never go beyond a limit together', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 30 }), fc.nat(200), (asks, amount) => {
      const limits: QuantityLimit[] = [{ quantity: 'x', scope: 'run', amount, outcome: 'deny', tier: 0 }];
      let [used, spent] = [{}, 0];
      for (const ask of asks) {
        if (breaches({ x: ask }, used, limits).length > 0) {
          expect(spent + ask).toBeGreaterThan(amount);
          continue;
        }
        [used, spent] = [usedAfter(used, { x: ask }), spent + ask];
      }
      expect(spent).toBeLessThanOrEqual(amount);
    }),
  );
});
