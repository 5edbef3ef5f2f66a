import { refuse } from '#catalog-kit/refusal.ts';
import type { Context, Order } from '../schemas.ts';
import { variantsOf } from '../store.ts';
import type { Variant } from '../tables.ts';

/** An item of an order, and what it is to become. */
export interface Pair {
  readonly old: string;
  readonly next: Variant;
}

/** Refuses with ITEM_NOT_IN_ORDER where an id is asked for more often than the order has it. */
export function requireLines(order: Order, itemIds: readonly string[]): void {
  const left = order.items.map(({ item_id }) => item_id);
  for (const id of itemIds) {
    const at = left.indexOf(id);
    if (at < 0) throw refuse('ITEM_NOT_IN_ORDER', `${order.order_id} does not have the item ${id} that often.`);
    left.splice(at, 1);
  }
}

/**
 * Pairs old items with new variants and sums the difference in cents: what the new ones cost more. Refuses with
 * ITEM_NOT_IN_ORDER, ITEM_COUNT_MISMATCH, SAME_ITEM (unless `same`), VARIANT_NOT_FOUND, ITEM_UNAVAILABLE.
 */
export async function pairUp(
  ctx: Context,
  order: Order,
  itemIds: readonly string[],
  newItemIds: readonly string[],
  { same }: { readonly same: boolean },
): Promise<{ readonly pairs: readonly Pair[]; readonly difference: number }> {
  requireLines(order, itemIds);
  if (itemIds.length !== newItemIds.length) {
    throw refuse('ITEM_COUNT_MISMATCH', 'item_ids and new_item_ids pair up by position, so they are equally long.');
  }
  const pairs: Pair[] = [];
  let difference = 0;
  for (const [index, old] of itemIds.entries()) {
    const wanted = newItemIds[index];
    const line = order.items.find(({ item_id }) => item_id === old);
    if (line === undefined) continue;
    if (!same && wanted === old) throw refuse('SAME_ITEM', `${old} cannot be replaced by itself.`);
    const next = (await variantsOf(ctx, line.product_id)).find(({ item_id }) => item_id === wanted);
    if (next === undefined) throw refuse('VARIANT_NOT_FOUND', `${wanted} is no variant of ${line.name}.`);
    if (!next.available) throw refuse('ITEM_UNAVAILABLE', `${wanted} is not available.`);
    pairs.push({ old, next });
    difference += next.price_cents - line.price_cents;
  }
  return { pairs, difference };
}
