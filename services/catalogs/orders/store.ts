import type { Selectable, Updateable } from 'kysely';
import { fieldChanges, standsAsChanged } from '#catalog-kit/change.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import type { Change, FieldChange } from '#domain/tools.ts';
import type { Context, Order, User } from './schemas.ts';
import type { OrdersTables, PaymentMethod, Variant } from './tables.ts';

type OrderRow = Selectable<OrdersTables['orders']>;
type CustomerRow = Selectable<OrdersTables['customers']>;

/** Money that one gift card gets, or with a minus, pays. */
export interface Balance {
  readonly method: string;
  readonly cents: number;
}

/** What a write is about to do to an order, and to its owner's gift cards. */
export interface Plan {
  readonly order: Order;
  readonly set: Partial<Order>;
  readonly balances?: readonly Balance[];
  readonly summary: string;
  readonly quantities: Change['quantities'];
}

interface Reading {
  /** Nobody else changes the record until the transaction ends. Orders are locked before their owners. */
  readonly lock?: boolean;
}

/** One order. Refuses with RESOURCE_DENIED, ORDER_NOT_FOUND. */
export async function requireOrder(ctx: Context, id: string, { lock = false }: Reading = {}): Promise<Order> {
  ctx.requireResource(`order/${id}`);
  const row = await ctx.db
    .selectFrom('orders')
    .selectAll()
    .where('order_id', '=', id)
    .$if(lock, (query) => query.forUpdate())
    .executeTakeFirst();
  if (row === undefined) throw refuse('ORDER_NOT_FOUND', `There is no order ${id}. Order ids begin with #W.`);
  return toOrder(row);
}

/** One customer. Refuses with RESOURCE_DENIED, USER_NOT_FOUND. */
export async function requireUser(ctx: Context, id: string, { lock = false }: Reading = {}): Promise<User> {
  ctx.requireResource(`customer/${id}`);
  return await ownerOf(ctx, id, lock);
}

/** The customer an order belongs to: whoever may touch the order may pay and refund with their methods. */
export async function ownerOf(ctx: Context, id: string, lock: boolean): Promise<User> {
  const row = await ctx.db
    .selectFrom('customers')
    .selectAll()
    .where('user_id', '=', id)
    .$if(lock, (query) => query.forUpdate())
    .executeTakeFirst();
  if (row === undefined) throw refuse('USER_NOT_FOUND', `There is no customer ${id}.`);
  return toUser(row);
}

/** One of the owner's payment methods. Refuses with PAYMENT_METHOD_NOT_FOUND. */
export function methodOf(owner: User, id: string): PaymentMethod {
  const found = owner.payment_methods.find((method) => method.id === id);
  if (found !== undefined) return found;
  throw refuse('PAYMENT_METHOD_NOT_FOUND', `${owner.user_id} has no payment method ${id}.`);
}

/** The variants of one product; none where there is no such product. */
export async function variantsOf(ctx: Context, productId: string): Promise<readonly Variant[]> {
  const row = await ctx.db
    .selectFrom('products')
    .select('variants')
    .where('product_id', '=', productId)
    .executeTakeFirst();
  return row?.variants ?? [];
}

/** What a plan would change. */
export function changeOf(plan: Plan, owner: User | null): Change {
  const { order, set, balances = [], summary, quantities } = plan;
  const after = { ...order, ...set };
  const cards = balances.map(({ method, cents }): FieldChange => {
    const was = owner?.payment_methods.find(({ id }) => id === method)?.balance_cents ?? 0;
    return { record: recordOfUser(order.user_id), field: `balance:${method}`, before: was, after: was + cents };
  });
  return {
    summary,
    quantities,
    fields: [...fieldChanges(recordOf(order.order_id), json(order), json(after)), ...cards],
  };
}

/** Carries a plan out and notes it; the order as it is then, and what changed. Lock the order and its owner first. */
export async function carryOut(
  ctx: Context,
  plan: Plan,
  owner: User | null,
  action: string,
): Promise<{ readonly order: Order; readonly change: Change }> {
  const { order, set, balances = [] } = plan;
  await writeOrder(ctx, order.order_id, set);
  if (owner !== null && balances.length > 0) await pay(ctx, owner, balances);
  await noteActivity(ctx, recordOf(order.order_id), action);
  return { order: { ...order, ...set }, change: changeOf(plan, owner) };
}

/**
 * Puts an order's fields back as they were before a change, and takes its money movements back. Refuses with
 * CHANGED_SINCE where the order is no longer as the change left it, or a gift card no longer holds what it was given;
 * `whilePending`: also where it is not pending any more.
 */
export async function takeBack(ctx: Context, id: string, change: Change, whilePending: boolean): Promise<Change> {
  const order = await requireOrder(ctx, id, { lock: true });
  if (whilePending && !order.status.includes('pending')) {
    throw refuse(
      'CHANGED_SINCE',
      `The order ${id} is ${order.status} by now, so this cannot be undone. Look at it first.`,
    );
  }
  const own = change.fields.filter(({ record }) => record === recordOf(id));
  // A change to what was there already has nothing to take back.
  if (own.length === 0) return { summary: `nothing to undo on ${id}`, fields: [], quantities: {} };
  if (!standsAsChanged(change, recordOf(id), json(order))) {
    throw refuse('CHANGED_SINCE', `The order ${id} was changed since, so this cannot be undone. Look at it first.`);
  }
  const set = Object.fromEntries(own.map(({ field, before }) => [field, before ?? null])) as Partial<Order>;
  const balances = change.fields
    .filter(({ record }) => record === recordOfUser(order.user_id))
    .map(({ field, before, after }) => ({
      method: field.slice('balance:'.length),
      cents: Number(before) - Number(after),
    }));
  const owner = balances.length > 0 ? await ownerOf(ctx, order.user_id, true) : null;
  const plan: Plan = { order, set, balances, summary: `take back: ${change.summary}`.slice(0, 500), quantities: {} };
  return (await carryOut(ctx, plan, owner, 'taken back')).change;
}

/** One row per effect, in the effect's transaction. */
export async function noteActivity(ctx: Context, record: string, action: string): Promise<void> {
  const { tenant, user, key } = ctx;
  await ctx.db.insertInto('order_activity').values({ tenant, record, actor: user, action, key }).execute();
}

export function recordOf(orderId: string): string {
  return `order/${orderId}`;
}

export function recordOfUser(userId: string): string {
  return `customer/${userId}`;
}

async function writeOrder(ctx: Context, id: string, set: Partial<Order>): Promise<void> {
  const columns = Object.entries(set).map(([name, value]) => [
    name,
    JSON_COLUMNS.has(name) ? JSON.stringify(value) : value,
  ]);
  if (columns.length === 0) return;
  await ctx.db
    .updateTable('orders')
    .set(Object.fromEntries(columns) as Updateable<OrdersTables['orders']>)
    .where('order_id', '=', id)
    .execute();
}

const JSON_COLUMNS: ReadonlySet<string> = new Set(['address', 'items', 'fulfillments', 'payment_history']);

async function pay(ctx: Context, owner: User, balances: readonly Balance[]): Promise<void> {
  const methods = owner.payment_methods.map((method) => ({ ...method }));
  for (const { method, cents } of balances) {
    const card = methods.find(({ id }) => id === method);
    if (card?.balance_cents == null || card.balance_cents + cents < 0) {
      throw refuse('CHANGED_SINCE', `The gift card ${method} does not hold ${-cents} cents any more.`);
    }
    card.balance_cents += cents;
  }
  await ctx.db
    .updateTable('customers')
    .set({ payment_methods: JSON.stringify(methods) })
    .where('user_id', '=', owner.user_id)
    .execute();
}

function toOrder({ tenant: _, ...row }: OrderRow): Order {
  return row;
}

function toUser(row: CustomerRow): User {
  const { user_id, first_name, last_name, email, address, orders, payment_methods } = row;
  return { user_id, name: { first_name, last_name }, address, email, orders, payment_methods };
}

function json(order: Order): JsonObject {
  const { order_id: _, ...fields } = order;
  return fields as unknown as Record<string, JsonValue>;
}
