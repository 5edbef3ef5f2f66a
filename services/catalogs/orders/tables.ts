import type { ColumnType, Generated } from 'kysely';
import type { z } from 'zod';
import type { address, fulfillment, line, option, payment, paymentMethod, variant } from './schemas.ts';

type Json<T> = ColumnType<T, string, string>;

export type Address = z.output<typeof address>;
export type Fulfillment = z.output<typeof fulfillment>;
export type Line = z.output<typeof line>;
export type Option = z.output<typeof option>;
export type Payment = z.output<typeof payment>;
export type PaymentMethod = z.output<typeof paymentMethod>;
export type Variant = z.output<typeof variant>;

export const ORDER_STATUSES = [
  'pending',
  'pending (item modified)',
  'processed',
  'delivered',
  'cancelled',
  'exchange requested',
  'return requested',
] as const;
export type OrderStatus = (typeof ORDER_STATUSES)[number];

/** The catalog's tables as kysely sees them; migrations/ is the truth. Money is in whole cents. */
export interface OrdersTables {
  products: { tenant: string; product_id: string; name: string; variants: Json<Variant[]> };
  customers: {
    tenant: string;
    user_id: string;
    first_name: string;
    last_name: string;
    email: string;
    address: Json<Address>;
    payment_methods: Json<PaymentMethod[]>;
    orders: string[];
  };
  orders: {
    tenant: string;
    order_id: string;
    user_id: string;
    address: Json<Address>;
    status: OrderStatus;
    items: Json<Line[]>;
    fulfillments: Json<Fulfillment[]>;
    payment_history: Json<Payment[]>;
    cancel_reason: string | null;
    exchange_items: string[] | null;
    exchange_new_items: string[] | null;
    exchange_payment_method_id: string | null;
    exchange_price_difference_cents: number | null;
    return_items: string[] | null;
    return_payment_method_id: string | null;
  };
  order_activity: { tenant: string; id: Generated<number>; record: string; actor: string; action: string; key: string };
}
