/** `node seed.ts --tenant acme [--reset]` with DATABASE_URL of a role that owns the schema: the demo's shop. */

import { parseArgs } from 'node:util';
import { sql, type Transaction } from 'kysely';
import { runTask } from '#platform/config/process.ts';
import { readConfig, urlOf } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { DEMO_SHOP } from './demo-data.ts';
import type { Order } from './schemas.ts';
import { ORDERS_SCHEMA } from './service.ts';
import type { Address, OrdersTables, PaymentMethod, Variant } from './tables.ts';

/** A shop's data, money in cents. */
export interface ShopData {
  readonly products: readonly {
    readonly product_id: string;
    readonly name: string;
    readonly variants: readonly Variant[];
  }[];
  readonly customers: readonly {
    readonly user_id: string;
    readonly first_name: string;
    readonly last_name: string;
    readonly email: string;
    readonly address: Address;
    readonly payment_methods: readonly PaymentMethod[];
    readonly orders: readonly string[];
  }[];
  /** Fields that are left out are null. */
  readonly orders: readonly (Partial<Order> &
    Pick<Order, 'order_id' | 'user_id' | 'address' | 'status' | 'items' | 'fulfillments' | 'payment_history'>)[];
}

export interface SeedOptions {
  readonly tenant: string;
  /** Puts every record of `data` back as it was at first; everything else stays. */
  readonly reset?: boolean;
  /** Default: the demo's shop. */
  readonly data?: ShopData;
}

const ROWS_AT_ONCE = 500;

/** Adds a shop's records where they are missing, in one transaction. Safe to repeat and with many at once. */
export async function seedOrders(url: string, options: SeedOptions): Promise<void> {
  const { tenant, data = DEMO_SHOP } = options;
  const { db, close } = connect<OrdersTables>(url, { name: 'steward-seed', schema: ORDERS_SCHEMA, max: 1 });
  try {
    await withTenant(db, tenant, async (trx) => {
      await sql`select pg_advisory_xact_lock(hashtext('steward.seed.orders'), hashtext(${tenant}))`.execute(trx);
      if (options.reset === true) await remove(trx, data);
      await insert(trx, tenant, data);
    });
  } finally {
    await close();
  }
}

async function remove(trx: Transaction<OrdersTables>, { products, customers }: ShopData): Promise<void> {
  // Their orders go with them.
  const people = customers.map(({ user_id }) => user_id);
  await trx.deleteFrom('customers').where('user_id', 'in', people).execute();
  const ids = products.map(({ product_id }) => product_id);
  await trx.deleteFrom('products').where('product_id', 'in', ids).execute();
}

async function insert(trx: Transaction<OrdersTables>, tenant: string, data: ShopData): Promise<void> {
  for (const part of parts(data.products)) {
    const rows = part.map((one) => ({ ...one, tenant, variants: JSON.stringify(one.variants) }));
    await trx
      .insertInto('products')
      .values(rows)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  for (const part of parts(data.customers)) {
    const rows = part.map((one) => ({
      ...one,
      tenant,
      address: JSON.stringify(one.address),
      payment_methods: JSON.stringify(one.payment_methods),
      orders: [...one.orders],
    }));
    await trx
      .insertInto('customers')
      .values(rows)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  for (const part of parts(data.orders)) {
    const rows = part.map((one) => ({
      ...one,
      tenant,
      address: JSON.stringify(one.address),
      items: JSON.stringify(one.items),
      fulfillments: JSON.stringify(one.fulfillments),
      payment_history: JSON.stringify(one.payment_history),
    }));
    await trx
      .insertInto('orders')
      .values(rows)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

function* parts<T>(list: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < list.length; at += ROWS_AT_ONCE) yield list.slice(at, at + ROWS_AT_ONCE);
}

if (import.meta.main) {
  await runTask(async () => {
    const { values } = parseArgs({
      options: { tenant: { type: 'string', default: 'acme' }, reset: { type: 'boolean', default: false } },
    });
    const { DATABASE_URL } = readConfig({ DATABASE_URL: urlOf(['postgres', 'postgresql'], 'as owner of the schema') });
    await seedOrders(DATABASE_URL, values);
  });
}
