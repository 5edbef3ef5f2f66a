import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { DEMO_SHOP } from '#services/catalogs/orders/demo-data.ts';
import { skipUnless } from '#test/support/skip.ts';
import { differences, type Ended, faultOf } from './compare.ts';
import { type Action, inCents, readRetail, retailFolder } from './data.ts';

const action = (result: Action['result']): Action => ({
  id: '0_1',
  tool: 'get_item_details',
  writes: false,
  arguments: { item_id: 'i' },
  result,
});
const ended = (more: Partial<Ended> = {}): Ended => ({
  tool: 'get_item_details',
  args: { item_id: 'i' },
  result: { item: { item_id: 'i', options: [{ name: 'size', value: 'L' }], available: true, price_cents: 7196 } },
  error: '',
  ...more,
});
const recorded = { item_id: 'i', options: { size: 'L' }, available: true, price: 71.96000000000001 };

test('a returned value is compared whole, money to the cent', () => {
  expect(faultOf(action({ ok: true, value: recorded }), ended())).toBeNull();
  expect(faultOf(action({ ok: true, value: { ...recorded, price: 71.97 } }), ended())).toMatch(/^0_1: returned/);
  expect(faultOf(action({ ok: true, value: { ...recorded, options: {} } }), ended())).toMatch(/^0_1: returned/);
  expect(faultOf(action({ ok: true, value: recorded }), ended({ args: { item_id: 'j' } }))).toMatch(/was called/);
  expect(faultOf(action({ ok: true, value: recorded }), undefined)).toMatch(/not made/);
});

test('a refusal is compared by its name', () => {
  const refused = action({ ok: false, error: 'ITEM_NOT_FOUND' });
  expect(faultOf(refused, ended({ result: null, error: 'ITEM_NOT_FOUND' }))).toBeNull();
  expect(faultOf(refused, ended({ result: null, error: 'RESOURCE_DENIED' }))).toBe(
    '0_1: RESOURCE_DENIED, not ITEM_NOT_FOUND',
  );
  expect(faultOf(refused, ended())).not.toBeNull();
});

test('differences are named by their leaves, lists as a whole', () => {
  const is = { a: { b: 1, c: [1] }, d: 'x' };
  expect(differences(is, { a: { b: 2, c: [1, 2] }, d: 'x' })).toEqual(['/a/b: 1, not 2', '/a/c: [1], not [1,2]']);
  expect(differences(is, is)).toEqual([]);
});

test('numbers become cents at every level', () => {
  expect(inCents({ a: [1.1, { b: 0.07 }], c: 'x', d: null })).toEqual({ a: [110, { b: 7 }], c: 'x', d: null });
});

const FOLDER = retailFolder();
skipUnless(`there is no recorded data in ${FOLDER}`, existsSync(join(FOLDER, 'tasks.json')))(
  'the recorded shop has the hash that its end states start from',
  async () => {
    const { tasks, shop } = await readRetail(FOLDER);
    expect(tasks).toHaveLength(57);
    expect(tasks.flatMap(({ actions }) => actions)).toHaveLength(276);
    expect([shop.products.length, shop.customers.length, shop.orders.length]).toEqual([50, 500, 1000]);
  },
);

test('the demo shop adds up: every order is paid with what its lines cost', () => {
  for (const { items, payment_history } of DEMO_SHOP.orders) {
    expect(payment_history[0]?.amount_cents).toBe(items.reduce((sum, { price_cents }) => sum + price_cents, 0));
  }
});
