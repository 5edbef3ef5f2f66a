import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import { canonicalJson } from '#platform/identity/canonical-json.ts';
import type { ShopData } from '#services/catalogs/orders/seed.ts';
import type { Line, Option, PaymentMethod, Variant } from '#services/catalogs/orders/tables.ts';

/** One recorded call, and what it must return. */
export interface Action {
  readonly id: string;
  readonly tool: string;
  readonly writes: boolean;
  readonly arguments: JsonObject;
  readonly result: { readonly ok: true; readonly value: JsonValue } | { readonly ok: false; readonly error: string };
}

/** One customer's request: the right calls in order, and the hash of the data afterwards, money in cents. */
export interface Task {
  readonly id: string;
  readonly scenario: { readonly reason_for_call: string };
  readonly actions: readonly Action[];
  readonly expected: {
    readonly sha256_cents: string;
    readonly changes: readonly { readonly path: string; readonly before?: JsonValue; readonly after?: JsonValue }[];
  };
}

export interface Retail {
  readonly tasks: readonly Task[];
  readonly shop: ShopData;
}

/** Where the data is looked for: RETAIL_DATA, else beside the repository. */
export function retailFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.RETAIL_DATA ?? join(REPOSITORY, '..', 'shared', 'data', 'retail');
}

/**
 * Reads db.json and tasks.json and puts the shop's data into the catalog's form. Throws where the data read back is not
 * what the recorded end states start from, so that nothing is compared with anything else.
 */
export async function readRetail(folder: string): Promise<Retail> {
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8')) as JsonObject;
  const [db, file] = await Promise.all([read('db.json'), read('tasks.json')]);
  const hash = hashOf(inCents(withAllFields(db)));
  if (hash !== file.initial_sha256_cents) throw new Error(`db.json is another one: its hash is ${hash}`);
  return { tasks: file.tasks as unknown as Task[], shop: shopOf(db) };
}

/** SHA-256, lower-case hex, of a value's RFC 8785 form. */
export function hashOf(value: JsonObject): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** Every number in cents. */
export function inCents<T extends JsonValue>(value: T): T {
  if (typeof value === 'number') return Math.round(value * 100) as T;
  if (Array.isArray(value)) return value.map((one) => inCents(one as JsonValue)) as unknown as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, inCents(one as JsonValue)])) as T;
}

const OPTIONAL = {
  cancel_reason: null,
  exchange_items: null,
  exchange_new_items: null,
  exchange_payment_method_id: null,
  exchange_price_difference: null,
  return_items: null,
  return_payment_method_id: null,
};

function withAllFields(db: JsonObject): JsonObject {
  const orders = Object.entries(db.orders as JsonObject).map(([id, one]) => [
    id,
    { ...OPTIONAL, ...(one as JsonObject) },
  ]);
  return { ...db, orders: Object.fromEntries(orders) };
}

interface Dollars {
  readonly price: number;
  readonly options: Readonly<Record<string, string>>;
}

const cents = (dollars: number): number => Math.round(dollars * 100);
const optionsOf = (options: Dollars['options']): Option[] =>
  Object.entries(options).map(([name, value]) => ({ name, value }));

function shopOf(db: JsonObject): ShopData {
  const all = <T>(kind: string) => Object.values(db[kind] as JsonObject) as unknown as T[];
  return {
    products: all<{ product_id: string; name: string; variants: Record<string, Omit<Variant, 'options'> & Dollars> }>(
      'products',
    ).map(({ product_id, name, variants }) => ({
      product_id,
      name,
      variants: Object.values(variants).map(({ item_id, options, available, price }) => ({
        item_id,
        options: optionsOf(options),
        available,
        price_cents: cents(price),
      })),
    })),
    customers: all<FileUser>('users').map(({ user_id, name, address, email, payment_methods, orders }) => ({
      user_id,
      ...name,
      address,
      email,
      orders,
      payment_methods: Object.values(payment_methods).map((method) => ({
        id: method.id,
        source: method.source,
        brand: method.brand ?? null,
        last_four: method.last_four ?? null,
        balance_cents: method.balance === undefined ? null : cents(method.balance),
      })),
    })),
    orders: all<FileOrder>('orders').map(({ items, payment_history, exchange_price_difference: _, ...order }) => ({
      ...order,
      items: items.map(({ price, options, ...line }) => ({
        ...line,
        price_cents: cents(price),
        options: optionsOf(options),
      })),
      payment_history: payment_history.map(({ amount, ...entry }) => ({ ...entry, amount_cents: cents(amount) })),
    })),
  };
}

type Customer = ShopData['customers'][number];
type FileUser = Pick<Customer, 'user_id' | 'address' | 'email' | 'orders'> & {
  readonly name: { readonly first_name: string; readonly last_name: string };
  readonly payment_methods: Readonly<
    Record<
      string,
      Pick<PaymentMethod, 'id' | 'source'> & {
        readonly brand?: string;
        readonly last_four?: string;
        readonly balance?: number;
      }
    >
  >;
};
type ShopOrder = ShopData['orders'][number];
type FileOrder = Pick<ShopOrder, 'order_id' | 'user_id' | 'address' | 'status' | 'fulfillments'> & {
  readonly items: readonly (Omit<Line, 'price_cents' | 'options'> & Dollars)[];
  readonly payment_history: readonly (Omit<ShopOrder['payment_history'][number], 'amount_cents'> & {
    readonly amount: number;
  })[];
  readonly exchange_price_difference?: number;
};
