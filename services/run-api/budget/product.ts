import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { openMonths } from '#platform/database/accounts.ts';
import { allot } from '#platform/database/product.ts';
import type { Database } from '#platform/database/tables.ts';
import { assertPlatform, monthOf } from './levels.ts';

/** Sets what the product may cost a month, this one included; null: without a limit. What was added to it stays on top. */
export async function setProductLimit(trx: Transaction<Database>, tenant: string, micro: number | null): Promise<void> {
  await assertPlatform(trx, tenant);
  const month = monthOf(Date.now());
  await openMonths(trx, tenant, null, new Date());
  await sql`update product_settings set month_limit_micro_usd = ${micro}, raised_at = now()`.execute(trx);
  await sql`update product_months set limit_micro_usd = ${micro}::int8 + coalesce(
      (select sum(e.amount_micro_usd) from product_entries e where e.month = ${month}), 0)::int8
    where month = ${month}`.execute(trx);
  await allot(trx, month, await limitOf(trx, month));
}

/** One addition to the product's month, once per id. Throws REQUEST_ID_REUSED, WRONG_STATE where there is no limit. */
export async function topUpProduct(
  trx: Transaction<Database>,
  tenant: string,
  raise: { readonly id: string; readonly add: number; readonly reason: string; readonly by: string },
): Promise<boolean> {
  await assertPlatform(trx, tenant);
  const month = monthOf(Date.now());
  await openMonths(trx, tenant, null, new Date());
  await sql`select from product_settings for update`.execute(trx);
  const made = await trx
    .selectFrom('product_entries')
    .select(['amount_micro_usd', 'by_subject', 'reason'])
    .where('raise_id', '=', raise.id)
    .executeTakeFirst();
  if (made !== undefined) {
    const same = made.amount_micro_usd === raise.add && made.by_subject === raise.by && made.reason === raise.reason;
    if (same) return false;
    throw new StewardError('REQUEST_ID_REUSED', `Request id ${raise.id} has added something else. Take a new id.`);
  }
  const limit = await limitOf(trx, month);
  if (limit === null) throw new StewardError('WRONG_STATE', 'The product has no limit this month: nothing to add to.');
  await trx
    .insertInto('product_entries')
    .values({
      month,
      kind: 'raise',
      amount_micro_usd: raise.add,
      raise_id: raise.id,
      by_subject: raise.by,
      reason: raise.reason,
    })
    .execute();
  await sql`update product_months set limit_micro_usd = limit_micro_usd + ${raise.add} where month = ${month}`.execute(
    trx,
  );
  await sql`update product_settings set raised_at = now()`.execute(trx);
  await allot(trx, month, limit + raise.add);
  return true;
}

async function limitOf(trx: Transaction<Database>, month: string): Promise<number | null> {
  const row = await trx
    .selectFrom('product_months')
    .select('limit_micro_usd')
    .where('month', '=', month)
    .executeTakeFirst();
  return row?.limit_micro_usd ?? null;
}
