import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { migrateCatalog } from '#catalog-kit/migrate.ts';
import { type CatalogTester, type RunTester, testAuthority } from '#catalog-kit/testing.ts';
import type { JsonObject } from '#domain/json.ts';
import { catalogEnv } from '#test/support/catalog-env.ts';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { seedOrders } from './seed.ts';
import { startOrders } from './service.ts';

const PERMISSIONS = ['orders:read', 'orders:write'];
const [LAMP_AND_KETTLE, TWO_KETTLES, TRIP] = ['#W1000001', '#W1000002', '#W1000003'] as const;
const ADDRESS = { address1: '1 New Road', address2: '', city: 'York', country: 'UK', state: 'England', zip: 'YO1 7HH' };

let database: TestDatabase;
let env: Awaited<ReturnType<typeof catalogEnv>>;
let catalog: Awaited<ReturnType<typeof startOrders>>;
let tester: CatalogTester;
let run: RunTester;

beforeAll(async () => {
  database = await testDatabase();
  await migrateCatalog({ url: database.url, schema: 'orders', directory: join(import.meta.dirname, 'migrations') });
  const authority = await testAuthority();
  env = await catalogEnv(authority.identity, await database.urlAs('steward_orders'));
  catalog = await startOrders(env.env);
  tester = await authority.connect(catalog.address);
});
afterAll(async () => {
  tester?.close();
  await catalog?.stop();
  await env?.remove();
  await database?.drop();
});
beforeEach(async () => {
  await seedOrders(database.url, { tenant: 'acme', reset: true });
  run = await tester.run({ tenant: 'acme', user: 'desk@acme.example', permissions: PERMISSIONS });
});

const state = async () => ({
  orders: await database.query('select * from orders.orders order by tenant, order_id'),
  customers: await database.query('select * from orders.customers order by tenant, user_id'),
});
const resultOf = async (tool: string, args: JsonObject): Promise<JsonObject> => (await run.call(tool, args)).result;
const orderOf = async (id: string) => (await resultOf('get_order_details', { order_id: id })).order as JsonObject;
const balanceOf = async (user_id: string, method: string) => {
  const { user } = (await resultOf('get_user_details', { user_id })) as { user: { payment_methods: JsonObject[] } };
  return user.payment_methods.find(({ id }) => id === method)?.balance_cents;
};

test('customers are found by e-mail, and by name and zip, whatever the case of their names', async () => {
  expect(await resultOf('find_user_id_by_email', { email: 'MIRA.holt@shop.example' })).toEqual({
    user_id: 'mira_holt_1',
  });
  const name = { first_name: 'tomas', last_name: 'BERG' };
  expect(await resultOf('find_user_id_by_name_zip', { ...name, zip: 'LS2 8JT' })).toEqual({ user_id: 'tomas_berg_2' });
  expect(await run.refusal('find_user_id_by_name_zip', { ...name, zip: 'ls2 8jt' })).toBe('USER_NOT_FOUND');
  expect(await run.refusal('find_user_id_by_email', { email: 'nobody@shop.example' })).toBe('USER_NOT_FOUND');
});

test('products, items, the price list and arithmetic', async () => {
  expect(await resultOf('get_item_details', { item_id: 'kettle-1l' })).toEqual({
    item: {
      item_id: 'kettle-1l',
      options: [
        { name: 'capacity', value: '1 l' },
        { name: 'colour', value: 'steel' },
      ],
      available: true,
      price_cents: 4_550,
    },
  });
  expect(await resultOf('list_all_product_types', {})).toEqual({
    text: '{"Backpack": "p-pack", "Desk Lamp": "p-lamp", "Kettle": "p-kettle"}',
  });
  expect(await resultOf('calculate', { expression: '(89.00 + 45.5) / 2' })).toEqual({ text: '67.25' });
  expect(await resultOf('transfer_to_human_agents', { summary: 'x' })).toEqual({ text: 'Transfer successful' });
  expect(await run.refusal('calculate', { expression: '1 / 0' })).toBe('INVALID_EXPRESSION');
  expect(await run.refusal('get_product_details', { product_id: 'kettle-1l' })).toBe('PRODUCT_NOT_FOUND');
  expect(await run.refusal('get_item_details', { item_id: 'p-lamp' })).toBe('ITEM_NOT_FOUND');
});

test('cancelling refunds every payment, and gift cards get theirs back', async () => {
  await run.call('cancel_pending_order', { order_id: LAMP_AND_KETTLE, reason: 'no longer needed' });
  expect(await orderOf(LAMP_AND_KETTLE)).toMatchObject({
    status: 'cancelled',
    cancel_reason: 'no longer needed',
    payment_history: [
      { transaction_type: 'payment', amount_cents: 13_450, payment_method_id: 'gift_mira' },
      { transaction_type: 'refund', amount_cents: 13_450, payment_method_id: 'gift_mira' },
    ],
  });
  expect(await balanceOf('mira_holt_1', 'gift_mira')).toBe(23_450);
});

test('items are replaced pair by pair, and the difference is paid or refunded at once', async () => {
  const args = {
    order_id: LAMP_AND_KETTLE,
    item_ids: ['lamp-brass', 'kettle-1l'],
    new_item_ids: ['lamp-black', 'kettle-17l'],
    payment_method_id: 'gift_mira',
  };
  expect(await run.preview('modify_pending_order_items', args)).toMatchObject({ quantities: { 'refund.cents': 300n } });
  await run.call('modify_pending_order_items', args);
  expect(await orderOf(LAMP_AND_KETTLE)).toMatchObject({
    status: 'pending (item modified)',
    // Both lines have the price of the last pair's variant, as the published tool leaves them.
    items: [
      { item_id: 'lamp-black', price_cents: 5_250 },
      { item_id: 'kettle-17l', price_cents: 5_250 },
    ],
    payment_history: [{}, { transaction_type: 'refund', amount_cents: 300 }],
  });
  expect(await balanceOf('mira_holt_1', 'gift_mira')).toBe(10_300);
  expect(await run.refusal('modify_pending_order_items', args)).toBe('ORDER_NOT_PENDING');
  await run.call('modify_pending_order_address', { order_id: LAMP_AND_KETTLE, ...ADDRESS });
  expect(await orderOf(LAMP_AND_KETTLE)).toMatchObject({ address: ADDRESS, status: 'pending (item modified)' });
});

test('what was delivered is exchanged or returned by request, and no money moves', async () => {
  await run.call('exchange_delivered_order_items', {
    order_id: TRIP,
    item_ids: ['pack-20', 'lamp-black'],
    new_item_ids: ['pack-30', 'lamp-brass'],
    payment_method_id: 'paypal_tomas',
  });
  expect(await orderOf(TRIP)).toMatchObject({
    status: 'exchange requested',
    exchange_items: ['lamp-black', 'pack-20'],
    exchange_new_items: ['lamp-brass', 'pack-30'],
    exchange_price_difference_cents: 2_300,
    payment_history: [{ transaction_type: 'payment' }],
  });
  await run.call('return_delivered_order_items', {
    order_id: TWO_KETTLES,
    item_ids: ['kettle-17l', 'kettle-17l'],
    payment_method_id: 'gift_mira',
  });
  expect(await orderOf(TWO_KETTLES)).toMatchObject({
    status: 'return requested',
    return_payment_method_id: 'gift_mira',
  });
  expect(await balanceOf('mira_holt_1', 'gift_mira')).toBe(10_000);
});

test('a payment moves from one method to another', async () => {
  await run.call('modify_pending_order_payment', { order_id: LAMP_AND_KETTLE, payment_method_id: 'card_mira' });
  expect(await orderOf(LAMP_AND_KETTLE)).toMatchObject({
    payment_history: [
      { transaction_type: 'payment', payment_method_id: 'gift_mira' },
      { transaction_type: 'payment', payment_method_id: 'card_mira', amount_cents: 13_450 },
      { transaction_type: 'refund', payment_method_id: 'gift_mira', amount_cents: 13_450 },
    ],
  });
  expect(await balanceOf('mira_holt_1', 'gift_mira')).toBe(23_450);
});

test('a cancelled order pays back what was paid and not paid back yet, however often its payment was moved', async () => {
  await run.call('modify_pending_order_payment', { order_id: LAMP_AND_KETTLE, payment_method_id: 'card_mira' });
  await run.call('cancel_pending_order', { order_id: LAMP_AND_KETTLE, reason: 'no longer needed' });
  const { payment_history: history } = (await orderOf(LAMP_AND_KETTLE)) as { payment_history: JsonObject[] };
  expect(history.slice(3)).toEqual([
    { transaction_type: 'refund', amount_cents: 13_450, payment_method_id: 'card_mira' },
  ]);
  expect(await balanceOf('mira_holt_1', 'gift_mira')).toBe(23_450);
});

test('what was changed of a pending order is not taken back once it is on its way', async () => {
  const moved = await run.call('modify_pending_order_address', { order_id: LAMP_AND_KETTLE, ...ADDRESS });
  await database.query("update orders.orders set status = 'processed' where order_id = $1", [LAMP_AND_KETTLE]);
  expect(await run.undo(moved.record)).toMatchObject({ case: 'refusal', value: { code: 'CHANGED_SINCE' } });
});

const swap = (order_id: string, item_ids: string[], new_item_ids: string[], payment_method_id: string) => ({
  order_id,
  item_ids,
  new_item_ids,
  payment_method_id,
});
const MODIFY = 'modify_pending_order_items';
const CHANGE_ITEMS: readonly [string, string, JsonObject][] = [
  [MODIFY, 'ORDER_NOT_FOUND', swap('#W9', ['x'], [], 'x')],
  [MODIFY, 'ORDER_NOT_PENDING', swap(TRIP, ['x'], [], 'x')],
  [MODIFY, 'ITEM_NOT_IN_ORDER', swap(LAMP_AND_KETTLE, ['kettle-1l', 'kettle-1l'], ['x'], 'x')],
  [MODIFY, 'ITEM_COUNT_MISMATCH', swap(LAMP_AND_KETTLE, ['kettle-1l'], [], 'x')],
  [MODIFY, 'SAME_ITEM', swap(LAMP_AND_KETTLE, ['kettle-1l'], ['kettle-1l'], 'x')],
  [MODIFY, 'VARIANT_NOT_FOUND', swap(LAMP_AND_KETTLE, ['kettle-1l'], ['lamp-black'], 'x')],
  [MODIFY, 'ITEM_UNAVAILABLE', swap(LAMP_AND_KETTLE, ['lamp-brass'], ['lamp-black-long'], 'x')],
  [MODIFY, 'PAYMENT_METHOD_NOT_FOUND', swap(LAMP_AND_KETTLE, ['kettle-1l'], ['kettle-17l'], 'gift_tomas')],
  ['exchange_delivered_order_items', 'ORDER_NOT_DELIVERED', swap(LAMP_AND_KETTLE, [], [], 'x')],
  ['exchange_delivered_order_items', 'GIFT_CARD_INSUFFICIENT', swap(TRIP, ['pack-20'], ['pack-30'], 'gift_tomas')],
  [
    'return_delivered_order_items',
    'PAYMENT_METHOD_NOT_FOUND',
    { order_id: TRIP, item_ids: ['x'], payment_method_id: 'x' },
  ],
  [
    'return_delivered_order_items',
    'ITEM_NOT_IN_ORDER',
    { order_id: TRIP, item_ids: ['x'], payment_method_id: 'gift_tomas' },
  ],
  ['cancel_pending_order', 'ORDER_NOT_PENDING', { order_id: TRIP, reason: 'x' }],
  ['cancel_pending_order', 'INVALID_REASON', { order_id: LAMP_AND_KETTLE, reason: 'x' }],
  ['modify_pending_order_address', 'ORDER_NOT_PENDING', { order_id: TRIP, ...ADDRESS }],
  ['modify_pending_order_payment', 'PAYMENT_METHOD_NOT_FOUND', { order_id: LAMP_AND_KETTLE, payment_method_id: 'x' }],
  [
    'modify_pending_order_payment',
    'SAME_PAYMENT_METHOD',
    { order_id: LAMP_AND_KETTLE, payment_method_id: 'gift_mira' },
  ],
  ['modify_user_address', 'USER_NOT_FOUND', { user_id: 'x', ...ADDRESS }],
];

test.each(CHANGE_ITEMS)('%s refuses with %s and changes nothing', async (tool, code, args) => {
  const before = await state();
  expect(await run.refusal(tool, args)).toBe(code);
  expect(await state()).toEqual(before);
});

test('a return goes to a gift card or to the method that paid', async () => {
  await database.query(`update orders.orders set payment_history = '[]' where order_id = $1`, [TWO_KETTLES]);
  const args = { order_id: TWO_KETTLES, item_ids: [], payment_method_id: 'card_mira' };
  expect(await run.refusal('return_delivered_order_items', args)).toBe('PAYMENT_METHOD_NOT_ALLOWED');
  const single = { order_id: LAMP_AND_KETTLE, payment_method_id: 'card_mira' };
  await run.call('modify_pending_order_payment', single);
  expect(await run.refusal('modify_pending_order_payment', { ...single, payment_method_id: 'gift_mira' })).toBe(
    'NOT_SINGLE_PAYMENT',
  );
});

const EFFECTS: readonly [string, JsonObject][] = [
  ['cancel_pending_order', { order_id: LAMP_AND_KETTLE, reason: 'ordered by mistake' }],
  ['modify_pending_order_address', { order_id: LAMP_AND_KETTLE, ...ADDRESS }],
  ['modify_pending_order_payment', { order_id: LAMP_AND_KETTLE, payment_method_id: 'card_mira' }],
  [MODIFY, swap(LAMP_AND_KETTLE, ['kettle-1l'], ['kettle-17l'], 'gift_mira')],
  ['exchange_delivered_order_items', swap(TRIP, ['pack-20'], ['pack-30'], 'paypal_tomas')],
  ['return_delivered_order_items', { order_id: TRIP, item_ids: ['pack-20'], payment_method_id: 'paypal_tomas' }],
  ['modify_user_address', { user_id: 'mira_holt_1', ...ADDRESS }],
];

test.each(EFFECTS)('%s happens once per key, and its undo brings back exactly what was there', async (tool, args) => {
  const before = await state();
  const call = await run.prepare(tool, args);
  expect((await run.execute(call)).outcome.case).toBe('receipt');
  const after = await state();
  expect(after).not.toEqual(before);
  expect((await run.execute(call)).outcome.case).toBe('receipt');
  expect(await state()).toEqual(after);
  expect((await run.undo(call.record)).case).toBe('receipt');
  expect(await state()).toEqual(before);
  const keys = await database.query('select key from orders.order_activity where key like $1 order by id', [
    `${call.record.key}%`,
  ]);
  expect(keys.map(({ key }) => key)).toEqual([call.record.key, `${call.record.key}/undo`]);
});

test('undo refuses what has changed since, or money that is spent', async () => {
  const moved = await run.call('modify_pending_order_address', { order_id: LAMP_AND_KETTLE, ...ADDRESS });
  await run.call('modify_pending_order_address', { order_id: LAMP_AND_KETTLE, ...ADDRESS, city: 'Hull' });
  expect(await run.undo(moved.record)).toMatchObject({ case: 'refusal', value: { code: 'CHANGED_SINCE' } });

  const cancelled = await run.call('cancel_pending_order', { order_id: LAMP_AND_KETTLE, reason: 'no longer needed' });
  await database.query(`update orders.customers set payment_methods =
    jsonb_set(payment_methods, '{1,balance_cents}', '5') where user_id = 'mira_holt_1'`);
  const spent = await state();
  expect(await run.undo(cancelled.record)).toMatchObject({ case: 'refusal', value: { code: 'CHANGED_SINCE' } });
  expect(await state()).toEqual(spent);
});

test('another tenant, a missing permission and a narrowed run see none of it', async () => {
  const other = await tester.run({ tenant: 'globex', user: 'x@globex.example', permissions: PERMISSIONS });
  expect(await other.refusal('get_order_details', { order_id: TRIP })).toBe('ORDER_NOT_FOUND');
  expect(await other.refusal('find_user_id_by_email', { email: 'mira.holt@shop.example' })).toBe('USER_NOT_FOUND');
  const narrow = await tester.run({
    tenant: 'acme',
    user: 'desk@acme.example',
    permissions: PERMISSIONS,
    resources: [`order/${TRIP}`],
  });
  expect((await narrow.call('get_order_details', { order_id: TRIP })).result).toMatchObject({
    order: { order_id: TRIP },
  });
  expect(await narrow.refusal('get_order_details', { order_id: TWO_KETTLES })).toBe('RESOURCE_DENIED');
});
