import { sameJson } from '#catalog-kit/change.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import type { Order, User } from '#services/catalogs/orders/schemas.ts';
import type { ShopData } from '#services/catalogs/orders/seed.ts';
import type { Option, Variant } from '#services/catalogs/orders/tables.ts';
import { type Action, inCents } from './data.ts';

const optionsOf = (options: readonly Option[]): JsonObject =>
  Object.fromEntries(options.map(({ name, value }) => [name, value]));

/** An order in the file's form, money in cents. */
export function orderOf(order: Order): JsonObject {
  const { items, payment_history, exchange_price_difference_cents, ...same } = order;
  return {
    ...(same as unknown as JsonObject),
    items: items.map(({ price_cents, options, ...line }) => ({
      ...line,
      price: price_cents,
      options: optionsOf(options),
    })),
    payment_history: payment_history.map(({ amount_cents, ...entry }) => ({ ...entry, amount: amount_cents })),
    exchange_price_difference: exchange_price_difference_cents,
  };
}

/** A customer in the file's form, money in cents. */
export function userOf({ payment_methods, ...user }: User): JsonObject {
  const methods = payment_methods.map(({ id, source, brand, last_four, balance_cents }) => [
    id,
    {
      source,
      id,
      ...(brand === null ? {} : { brand }),
      ...(last_four === null ? {} : { last_four }),
      ...(balance_cents === null ? {} : { balance: balance_cents }),
    },
  ]);
  return { ...(user as unknown as JsonObject), payment_methods: Object.fromEntries(methods) };
}

/** A variant in the file's form, money in cents. */
export function itemOf({ item_id, options, available, price_cents }: Variant): JsonObject {
  return { item_id, options: optionsOf(options), available, price: price_cents };
}

/** A product in the file's form, money in cents. */
export function productOf({ product_id, name, variants }: ShopData['products'][number]): JsonObject {
  return { name, product_id, variants: Object.fromEntries(variants.map((one) => [one.item_id, itemOf(one)])) };
}

/** What a call of the catalog returned, in the recorded form, money in cents. */
function returned(result: JsonObject): JsonValue {
  if (result.order !== undefined) return orderOf(result.order as unknown as Order);
  if (result.user !== undefined) return userOf(result.user as unknown as User);
  if (result.product !== undefined) return productOf(result.product as never);
  if (result.item !== undefined) return itemOf(result.item as unknown as Variant);
  return (result.text ?? result.user_id ?? null) as JsonValue;
}

/** How one recorded call ended in a run. */
export interface Ended {
  readonly tool: string;
  readonly args: JsonObject;
  readonly result: JsonObject | null;
  readonly error: string;
}

/** What is wrong with how a call ended, or null: the tool, its arguments and all it returned, money to the cent. */
export function faultOf(action: Action, ended: Ended | undefined): string | null {
  if (ended === undefined) return `${action.id}: the call was not made`;
  if (ended.tool !== action.tool || !sameJson(ended.args, action.arguments)) {
    return `${action.id}: ${ended.tool} ${JSON.stringify(ended.args)} was called`;
  }
  const { result } = action;
  if (!result.ok) return ended.error === result.error ? null : `${action.id}: ${ended.error}, not ${result.error}`;
  if (ended.result === null) return `${action.id}: ended with ${ended.error}`;
  const [is, must] = [returned(ended.result), inCents(result.value)];
  return sameJson(is, must) ? null : `${action.id}: returned ${JSON.stringify(is)}, not ${JSON.stringify(must)}`;
}

/** The leaves in which two documents differ: objects key by key, lists as a whole. At most `most`. */
export function differences(is: JsonValue, must: JsonValue, most = 20, path = ''): string[] {
  if (sameJson(is, must)) return [];
  const objects = [is, must].every((one) => typeof one === 'object' && one !== null && !Array.isArray(one));
  if (!objects) return [`${path}: ${JSON.stringify(is)}, not ${JSON.stringify(must)}`];
  const [left, right] = [is as JsonObject, must as JsonObject];
  const found: string[] = [];
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    if (found.length >= most) break;
    found.push(...differences(left[key] ?? null, right[key] ?? null, most - found.length, `${path}/${key}`));
  }
  return found;
}
