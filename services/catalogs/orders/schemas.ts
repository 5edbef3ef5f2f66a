import { z } from 'zod';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import type { DatabaseContext } from '#catalog-kit/tool.ts';
import { ORDER_STATUSES, type OrdersTables } from './tables.ts';

/** `defineTool` for tools over this catalog's tables. */
export const defineTool = toolsOver<OrdersTables>();
export type Context = DatabaseContext<OrdersTables>;

export const orderId = z.string().max(40).describe('The id of an order with its leading #, such as #W0000000.');
export const userId = z.string().max(80).describe("The customer's id, as find_user_id_by_email gives it.");
export const productId = z.string().max(40).describe('The id of a product, as list_all_product_types gives it.');
export const itemId = z.string().max(40).describe('The id of one variant of a product.');
export const itemIds = z.array(itemId).max(100).describe('Item ids; one that is wanted twice stands there twice.');
export const paymentMethodId = z.string().max(80).describe("The id of one of the customer's payment methods.");

const text = z.string().max(500);
/** The six fields of an address, as tools take them. */
export const ADDRESS_FIELDS = { address1: text, address2: text, city: text, country: text, state: text, zip: text };
export const address = z.strictObject(ADDRESS_FIELDS);
export const option = z.strictObject({ name: z.string(), value: z.string() });
const options = z.array(option);
const cents = z.int();

export const variant = z.strictObject({ item_id: z.string(), options, available: z.boolean(), price_cents: cents });
export const product = z.strictObject({ product_id: z.string(), name: z.string(), variants: z.array(variant) });
export const paymentMethod = z.strictObject({
  id: z.string(),
  source: z.enum(['credit_card', 'paypal', 'gift_card']),
  brand: z.string().nullable(),
  last_four: z.string().nullable(),
  balance_cents: cents.nullable(),
});
export const user = z.strictObject({
  user_id: z.string(),
  name: z.strictObject({ first_name: z.string(), last_name: z.string() }),
  address,
  email: z.string(),
  orders: z.array(z.string()),
  payment_methods: z.array(paymentMethod),
});
export const line = z.strictObject({
  name: z.string(),
  product_id: z.string(),
  item_id: z.string(),
  price_cents: cents,
  options,
});
export const fulfillment = z.strictObject({ tracking_id: z.array(z.string()), item_ids: z.array(z.string()) });
export const payment = z.strictObject({
  transaction_type: z.enum(['payment', 'refund']),
  amount_cents: cents,
  payment_method_id: z.string(),
});
export const order = z.strictObject({
  order_id: z.string(),
  user_id: z.string(),
  address,
  items: z.array(line),
  status: z.enum(ORDER_STATUSES),
  fulfillments: z.array(fulfillment),
  payment_history: z.array(payment),
  cancel_reason: z.string().nullable(),
  exchange_items: z.array(z.string()).nullable(),
  exchange_new_items: z.array(z.string()).nullable(),
  exchange_payment_method_id: z.string().nullable(),
  exchange_price_difference_cents: cents.nullable(),
  return_items: z.array(z.string()).nullable(),
  return_payment_method_id: z.string().nullable(),
});
export type Order = z.output<typeof order>;
export type User = z.output<typeof user>;

/** What every tool of this catalog that writes has in common. */
export const WRITE = { version: '1', labels: ['writes'], permissions: ['orders:write'] } as const;
/** What every tool that reads has in common. Customers write their names and addresses themselves. */
export const READ = {
  version: '1',
  effect: 'none',
  risk: 'safe',
  labels: ['reads_private', 'reads_untrusted'],
  permissions: ['orders:read'],
} as const;
