import { sql, type Transaction } from 'kysely';
import { productPart } from '#domain/ids.ts';
import type { Database } from './tables.ts';

/**
 * The product level: all tenants together. A month's account stands in parts, of which a run has one, so that the runs
 * of all tenants do not wait for one row. Taken after everything else; the parts among themselves in their order.
 */

/**
 * Has a run's part of the month afford `want`, as far as the month does: all parts are locked, and what none of them
 * needs is dealt out anew. Returns what the part affords then, below zero where the month is overspent. Micro-USD.
 */
export async function gatherPart(
  trx: Transaction<Database>,
  month: string,
  run: string,
  want: number,
): Promise<number> {
  const own = productPart(run);
  const parts = await trx
    .selectFrom('product_accounts')
    .select(['part', 'allotted_micro_usd', 'reserved_micro_usd', 'settled_micro_usd'])
    .where('month', '=', month)
    .orderBy('part')
    .forUpdate()
    .execute();
  const used = parts.map((part) => part.reserved_micro_usd + part.settled_micro_usd);
  if (parts.some((part) => part.allotted_micro_usd === null)) return Number.MAX_SAFE_INTEGER;
  // By the month's limit, not by what is allotted: where more was used than it has, nothing is. Read behind the locks.
  const { limit_micro_usd: limit } = await trx
    .selectFrom('product_months')
    .select('limit_micro_usd')
    .where('month', '=', month)
    .executeTakeFirstOrThrow();
  if (limit === null) return Number.MAX_SAFE_INTEGER;
  const left = limit - used.reduce((sum, one) => sum + one, 0);
  if (left <= 0) return left;
  const given = Math.min(want, left);
  const others = parts.length - 1;
  const share = Math.floor((left - given) / others);
  const rest = left - given - share * others;
  await dealOut(
    trx,
    month,
    parts.map(({ part }, at) => (used[at] ?? 0) + (part === own ? given + rest : share)),
  );
  return given + rest;
}

/** Deals a month's limit out to its parts, which the caller holds; null: without a limit. */
export async function allot(trx: Transaction<Database>, month: string, limit: number | null): Promise<void> {
  const parts = await trx
    .selectFrom('product_accounts')
    .select(['reserved_micro_usd', 'settled_micro_usd'])
    .where('month', '=', month)
    .orderBy('part')
    .forUpdate()
    .execute();
  if (limit === null) {
    await trx.updateTable('product_accounts').set({ allotted_micro_usd: null }).where('month', '=', month).execute();
    return;
  }
  const used = parts.map((part) => part.reserved_micro_usd + part.settled_micro_usd);
  const left = limit - used.reduce((sum, one) => sum + one, 0);
  const share = Math.floor(left / Math.max(1, parts.length));
  const rest = left - share * parts.length;
  await dealOut(
    trx,
    month,
    // Where more is used than the month has, no part has anything, until `gatherPart` finds some of it given back.
    used.map((one, at) => (left < 0 ? 0 : one + share + (at === 0 ? rest : 0))),
  );
}

/** The settings' limit in even parts; null: without a limit. */
export const EVEN_PART = sql<number | null>`s.month_limit_micro_usd / 8
  + case when p.part < s.month_limit_micro_usd % 8 then 1 else 0 end`;

async function dealOut(trx: Transaction<Database>, month: string, allotted: readonly number[]): Promise<void> {
  const rows = sql.join(allotted.map((micro, part) => sql`(${part}::int, ${micro}::int8)`));
  await sql`update product_accounts a set allotted_micro_usd = v.micro
    from (values ${rows}) as v (part, micro) where a.month = ${month} and a.part = v.part`.execute(trx);
}
