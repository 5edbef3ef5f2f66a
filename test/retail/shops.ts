import type { JsonObject } from '#domain/json.ts';
import type { Order, User } from '#services/catalogs/orders/schemas.ts';
import { type SeedOptions, seedOrders } from '#services/catalogs/orders/seed.ts';
import type { TestStack } from '#test/support/stack.ts';
import { orderOf, productOf, userOf } from './compare.ts';

const COLUMNS = {
  products: 'product_id, name, variants',
  customers: 'user_id, first_name, last_name, email, address, payment_methods, orders',
  orders: 'order_id, user_id, address, status, items, fulfillments, payment_history',
} as const;
const TEMPLATE = 'retail';

/** Stores the data once, as a tenant's that has no runs. */
export async function storeTemplate(s: TestStack, data: NonNullable<SeedOptions['data']>): Promise<void> {
  await seedOrders(s.stack.databaseUrl, { tenant: TEMPLATE, reset: true, data });
}

/** Makes a tenant with a fresh copy of the data. */
export async function openShop(s: TestStack, tenant: string): Promise<void> {
  await s.query(
    `insert into steward.tenants (id, tier, month_budget_micro_usd, max_concurrent_runs, max_runs_per_day)
     values ($1, 'enterprise', 1000000000, 100, 100000)`,
    [tenant],
  );
  for (const [table, columns] of Object.entries(COLUMNS)) {
    await s.query(
      `insert into orders.${table} (tenant, ${columns}) select $1, ${columns} from orders.${table}
      where tenant = '${TEMPLATE}'`,
      [tenant],
    );
  }
}

/** The state document of a tenant's shop, money in cents, out of the catalog's own tables. */
export async function stateOf(s: TestStack, tenant: string): Promise<JsonObject> {
  const rows = async <T extends object>(table: string) =>
    await s.query<T & Record<string, unknown>>(
      `select to_jsonb(t) - 'tenant' as row from orders.${table} t where tenant = $1`,
      [tenant],
    );
  const [products, customers, orders] = await Promise.all([rows('products'), rows('customers'), rows('orders')]);
  const byId = (found: readonly Record<string, unknown>[], id: string, form: (row: never) => JsonObject): JsonObject =>
    Object.fromEntries(found.map(({ row }) => [(row as Record<string, string>)[id], form(row as never)]));
  return {
    products: byId(products, 'product_id', productOf),
    users: byId(customers, 'user_id', ({ first_name, last_name, ...user }: Omit<User, 'name'> & User['name']) =>
      userOf({ ...user, name: { first_name, last_name } }),
    ),
    orders: byId(orders, 'order_id', (order: Order) => orderOf(order)),
  };
}

/** How often the catalog has written in a tenant's shop: a row for each effect, in the effect's own transaction. */
export async function effectsIn(
  s: TestStack,
  tenant: string,
): Promise<{ readonly rows: number; readonly keys: number }> {
  const [found] = await s.query<{ rows: number; keys: number }>(
    'select count(*)::int as rows, count(distinct key)::int as keys from orders.order_activity where tenant = $1',
    [tenant],
  );
  return found ?? { rows: 0, keys: 0 };
}
