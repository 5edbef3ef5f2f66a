import { z } from 'zod';
import { fieldChanges, standsAsChanged } from '#catalog-kit/change.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import type { JsonObject } from '#domain/json.ts';
import {
  ADDRESS_FIELDS,
  type Context,
  defineTool,
  itemIds,
  type Order,
  paymentMethodId,
  user,
  userId,
  WRITE,
} from '../schemas.ts';
import { type Balance, methodOf, noteActivity, recordOfUser, requireUser } from '../store.ts';
import type { Address, Payment } from '../tables.ts';
import { pairUp, requireLines } from './lines.ts';
import { writeOrder } from './write-order.ts';

const REASONS: readonly string[] = ['no longer needed', 'ordered by mistake'];

/** Cancels an order nobody has touched, and pays everything back. */
export const cancelPendingOrder = writeOrder({
  name: 'cancel_pending_order',
  description: `Cancels a pending order and refunds it. The reason is one of: ${REASONS.join(', ')}. People are asked first.`,
  risk: 'destructive',
  input: { reason: z.string().max(100) },
  quantities: ['refund.cents'],
  action: 'cancelled',
  plan(_ctx, order, owner, { reason }) {
    if (order.status !== 'pending') throw notPending(order);
    if (!REASONS.includes(reason)) throw refuse('INVALID_REASON', `The reason must be one of: ${REASONS.join(', ')}.`);
    const twins = refundsOf(order.payment_history);
    const cards = new Set(owner.payment_methods.filter(({ source }) => source === 'gift_card').map(({ id }) => id));
    const total = twins.reduce((sum, { amount_cents }) => sum + amount_cents, 0);
    return {
      set: { payment_history: [...order.payment_history, ...twins], status: 'cancelled', cancel_reason: reason },
      balances: twins
        .filter(({ payment_method_id }) => cards.has(payment_method_id))
        .map(({ payment_method_id, amount_cents }): Balance => ({ method: payment_method_id, cents: amount_cents })),
      summary: `cancel ${order.order_id} (${reason}) and refund ${dollars(total)}`,
      quantities: { 'refund.cents': total },
    };
  },
});

/** What was paid by each method and not refunded yet, as refunds. */
function refundsOf(history: readonly Payment[]): Payment[] {
  const paid = new Map<string, number>();
  for (const { transaction_type: type, amount_cents: cents, payment_method_id: method } of history) {
    paid.set(method, (paid.get(method) ?? 0) + (type === 'refund' ? -cents : cents));
  }
  return [...paid]
    .filter(([, cents]) => cents > 0)
    .map(([payment_method_id, amount_cents]) => ({ transaction_type: 'refund', amount_cents, payment_method_id }));
}

/** Sends an order elsewhere. */
export const modifyPendingOrderAddress = writeOrder({
  name: 'modify_pending_order_address',
  description: 'Replaces the address of an order that is pending. The address of the customer stays.',
  risk: 'cautious',
  input: ADDRESS_FIELDS,
  sensitiveFields: ['address1', 'address2', 'city', 'zip'],
  action: 'address modified',
  undoWhilePending: true,
  plan(_ctx, order, _owner, args) {
    if (!order.status.includes('pending')) throw notPending(order);
    const address = addressOf(args);
    return { set: { address }, summary: `send ${order.order_id} to ${shown(address)}`, quantities: {} };
  },
});

/** Pays an order by another method, and refunds the first. */
export const modifyPendingOrderPayment = writeOrder({
  name: 'modify_pending_order_payment',
  description:
    "Pays a pending order by another of the customer's methods and refunds the old one. People are asked first.",
  risk: 'destructive',
  input: { payment_method_id: paymentMethodId },
  sensitiveFields: ['payment_method_id'],
  quantities: ['refund.cents', 'charge.cents'],
  action: 'payment modified',
  undoWhilePending: true,
  plan(_ctx, order, owner, { payment_method_id }) {
    if (!order.status.includes('pending')) throw notPending(order);
    const method = methodOf(owner, payment_method_id);
    const [paid, ...others] = order.payment_history;
    if (paid === undefined || others.length > 0 || paid.transaction_type !== 'payment') {
      throw refuse('NOT_SINGLE_PAYMENT', `${order.order_id} was not paid by exactly one payment.`);
    }
    if (paid.payment_method_id === payment_method_id) {
      throw refuse('SAME_PAYMENT_METHOD', `${order.order_id} is paid by ${payment_method_id} already.`);
    }
    const amount = paid.amount_cents;
    requireFunds(method, amount);
    const old = owner.payment_methods.find(({ id }) => id === paid.payment_method_id);
    const balances: Balance[] = [];
    if (method.source === 'gift_card') balances.push({ method: method.id, cents: -amount });
    if (old?.source === 'gift_card') balances.push({ method: old.id, cents: amount });
    return {
      set: {
        payment_history: [
          paid,
          { transaction_type: 'payment', amount_cents: amount, payment_method_id },
          { transaction_type: 'refund', amount_cents: amount, payment_method_id: paid.payment_method_id },
        ],
      },
      balances,
      summary: `pay ${order.order_id}, ${dollars(amount)}, by ${payment_method_id} in place of ${paid.payment_method_id}`,
      quantities: { 'refund.cents': amount, 'charge.cents': amount },
    };
  },
});

const EXCHANGE = { item_ids: itemIds, new_item_ids: itemIds, payment_method_id: paymentMethodId };

/** Puts other variants into an order nobody has touched, and settles the difference at once. */
export const modifyPendingOrderItems = writeOrder({
  name: 'modify_pending_order_items',
  description:
    'Replaces items of a pending order by other variants of the same products, pair by pair, and pays or refunds the ' +
    'difference. An order can be modified so only once: collect everything first. People are asked first.',
  risk: 'destructive',
  input: EXCHANGE,
  sensitiveFields: ['payment_method_id'],
  quantities: ['refund.cents', 'charge.cents'],
  action: 'items modified',
  async plan(ctx, order, owner, { item_ids, new_item_ids, payment_method_id }) {
    if (order.status !== 'pending') throw notPending(order);
    const { pairs, difference } = await pairUp(ctx, order, item_ids, new_item_ids, { same: false });
    const method = methodOf(owner, payment_method_id);
    requireFunds(method, difference);
    const last = pairs.at(-1);
    const items = [...order.items];
    for (const { old, next } of pairs) {
      const at = items.findIndex(({ item_id }) => item_id === old);
      const line = items[at];
      if (line === undefined || last === undefined) continue;
      // Every line gets the last pair's price and options: what the published tool does, kept so that states agree.
      items[at] = { ...line, item_id: next.item_id, price_cents: last.next.price_cents, options: last.next.options };
    }
    const entry: Payment = {
      transaction_type: difference > 0 ? 'payment' : 'refund',
      amount_cents: Math.abs(difference),
      payment_method_id,
    };
    return {
      set: { items, payment_history: [...order.payment_history, entry], status: 'pending (item modified)' },
      balances: method.source === 'gift_card' ? [{ method: method.id, cents: 0 - difference }] : [],
      summary: `modify ${pairs.length} items of ${order.order_id}: ${entry.transaction_type} of ${dollars(entry.amount_cents)}`,
      quantities: difference > 0 ? { 'charge.cents': difference } : { 'refund.cents': 0 - difference },
    };
  },
});

/** Asks for other variants of what was delivered. No money moves yet. */
export const exchangeDeliveredOrderItems = writeOrder({
  name: 'exchange_delivered_order_items',
  description:
    'Requests the exchange of delivered items for other variants of the same products. The difference is settled by ' +
    'the payment method later. An order can be exchanged only once: collect everything first.',
  risk: 'cautious',
  input: EXCHANGE,
  sensitiveFields: ['payment_method_id'],
  action: 'exchange requested',
  async plan(ctx, order, owner, { item_ids, new_item_ids, payment_method_id }) {
    if (order.status !== 'delivered') throw notDelivered(order);
    const { pairs, difference } = await pairUp(ctx, order, item_ids, new_item_ids, { same: true });
    requireFunds(methodOf(owner, payment_method_id), difference);
    return {
      set: {
        status: 'exchange requested',
        exchange_items: [...item_ids].sort(),
        exchange_new_items: [...new_item_ids].sort(),
        exchange_payment_method_id: payment_method_id,
        exchange_price_difference_cents: difference,
      },
      summary: `request the exchange of ${pairs.length} items of ${order.order_id}, difference ${dollars(difference)}`,
      quantities: {},
    };
  },
});

/** Asks for delivered items to be taken back. No money moves yet. */
export const returnDeliveredOrderItems = writeOrder({
  name: 'return_delivered_order_items',
  description:
    'Requests the return of delivered items. The refund goes to a gift card or to the method the order was paid by.',
  risk: 'cautious',
  input: { item_ids: itemIds, payment_method_id: paymentMethodId },
  sensitiveFields: ['payment_method_id'],
  action: 'return requested',
  plan(_ctx, order, owner, { item_ids, payment_method_id }) {
    if (order.status !== 'delivered') throw notDelivered(order);
    const method = methodOf(owner, payment_method_id);
    if (method.source !== 'gift_card' && method.id !== order.payment_history[0]?.payment_method_id) {
      throw refuse(
        'PAYMENT_METHOD_NOT_ALLOWED',
        'A refund goes to a gift card or to the method the order was paid by.',
      );
    }
    requireLines(order, item_ids);
    return {
      set: {
        status: 'return requested',
        return_items: [...item_ids].sort(),
        return_payment_method_id: payment_method_id,
      },
      summary: `request the return of ${item_ids.length} items of ${order.order_id} to ${payment_method_id}`,
      quantities: {},
    };
  },
});

/** Moves a customer; their orders stay where they go. */
export const modifyUserAddress = defineTool({
  ...WRITE,
  name: 'modify_user_address',
  description: "Replaces a customer's address. Orders that were placed already keep theirs.",
  input: z.strictObject({ user_id: userId, ...ADDRESS_FIELDS }),
  output: z.strictObject({ user }),
  effect: 'transactional',
  risk: 'cautious',
  sensitiveFields: ['address1', 'address2', 'city', 'zip'],
  resourceKeys: ['customer/{user_id}'],
  async execute(ctx, { user_id, ...args }) {
    const before = await requireUser(ctx, user_id, { lock: true });
    const address = addressOf(args);
    const fields = await move(ctx, user_id, before.address, address, 'address modified');
    const summary = `${user_id} lives at ${shown(address)}`;
    return { result: { user: { ...before, address } }, change: { summary, fields, quantities: {} } };
  },
  async undo(ctx, { args: { user_id }, change }) {
    const [field] = change.fields;
    if (field === undefined) return { summary: 'nothing to undo: it was the same address', fields: [], quantities: {} };
    const now = await requireUser(ctx, user_id, { lock: true });
    if (!standsAsChanged(change, recordOfUser(user_id), { address: json(now.address) })) {
      throw refuse('CHANGED_SINCE', `The address of ${user_id} was changed since, so this cannot be undone.`);
    }
    const was = field.before as unknown as Address;
    const fields = await move(ctx, user_id, now.address, was, 'taken back');
    return { summary: `${user_id} lives at ${shown(was)}`, fields, quantities: {} };
  },
});

async function move(ctx: Context, id: string, before: Address, after: Address, action: string) {
  await ctx.db
    .updateTable('customers')
    .set({ address: JSON.stringify(after) })
    .where('user_id', '=', id)
    .execute();
  await noteActivity(ctx, recordOfUser(id), action);
  return fieldChanges(recordOfUser(id), { address: json(before) }, { address: json(after) });
}

function json(address: Address): JsonObject {
  return { ...address };
}

function addressOf({ address1, address2, city, country, state, zip }: Address): Address {
  return { address1, address2, city, country, state, zip };
}

function shown({ address1, address2, city, country, state, zip }: Address): string {
  return `${[address1, address2, city, state, zip, country].filter((part) => part !== '').join(', ')}`.slice(0, 400);
}

function requireFunds(method: { readonly id: string; readonly balance_cents: number | null }, cents: number): void {
  if (method.balance_cents === null || method.balance_cents >= cents) return;
  throw refuse('GIFT_CARD_INSUFFICIENT', `The gift card ${method.id} holds ${dollars(method.balance_cents)} only.`);
}

function notPending(order: Order) {
  return refuse('ORDER_NOT_PENDING', `${order.order_id} is ${order.status}, not pending.`);
}

function notDelivered(order: Order) {
  return refuse('ORDER_NOT_DELIVERED', `${order.order_id} is ${order.status}, not delivered.`);
}

function dollars(cents: number): string {
  return `$${(cents / 100).toFixed(2)}`;
}
