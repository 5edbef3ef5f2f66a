import { sql, type Transaction } from 'kysely';
import { type LimitScope, limitsInForce, type QuantityLimit, type Used } from '#domain/quantities.ts';
import { storableJson } from './storable.ts';
import type { Database } from './tables.ts';

/** Sums are cut here: above it, numbers are not exact any more, and every limit is passed long before. */
const MOST = Number.MAX_SAFE_INTEGER;

/** Whose windows a call counts in. */
export interface Spender {
  readonly tenant: string;
  readonly run: string;
  readonly user: string;
  readonly agent: string;
}

/**
 * Waits until nobody else reserves these quantities of the tenant; until the end of the transaction. Take the run's row
 * before it, never after.
 */
export async function lockQuantities(
  trx: Transaction<Database>,
  tenant: string,
  quantities: readonly string[],
): Promise<void> {
  const keys = quantities.toSorted().map((quantity) => `steward.quantity/${tenant}/${quantity}`);
  await sql`select pg_advisory_xact_lock(hashtextextended(key, 0)) from unnest(${keys}::text[]) as key`.execute(trx);
}

/** The tenant's own limits on these quantities, with the defaults it has not replaced; of all where none are named. */
export async function limitsOf(trx: Transaction<Database>): Promise<readonly QuantityLimit[]> {
  const own = await trx
    .selectFrom('quantity_limits')
    .select(['quantity', 'scope', 'amount', 'outcome', 'tier'])
    .orderBy('quantity')
    .orderBy('scope')
    .limit(1_000)
    .execute();
  return limitsInForce(own);
}

/** What is held or spent of these quantities in every window that ends now. By the database's clock. */
export async function usedBy(
  trx: Transaction<Database>,
  spender: Spender,
  quantities: readonly string[],
): Promise<Used> {
  const { tenant, run, user, agent } = spender;
  const { rows } = await sql<{ quantity: string } & Record<LimitScope, number>>`
    with clock as (select clock_timestamp() as at)
    select quantity,
      least(coalesce(sum(amount + overage) filter (where run_id = ${run}), 0), ${MOST})::int8 as run,
      least(coalesce(sum(amount + overage) filter (where w.acting_user = ${user} and reserved_at > at - interval '1 hour'), 0), ${MOST})::int8
        as "user-hour",
      least(coalesce(sum(amount + overage) filter (where w.acting_user = ${user} and reserved_at > at - interval '1 day'), 0), ${MOST})::int8
        as "user-day",
      least(coalesce(sum(amount + overage) filter (where w.agent = ${agent} and reserved_at > at - interval '1 day'), 0), ${MOST})::int8
        as "agent-day",
      least(coalesce(sum(amount + overage) filter (where reserved_at > at - interval '1 hour'), 0), ${MOST})::int8 as "tenant-hour",
      least(coalesce(sum(amount + overage) filter (where reserved_at > at - interval '1 day'), 0), ${MOST})::int8 as "tenant-day"
    from quantity_windows w, clock
    where tenant = ${tenant} and quantity = any(${[...quantities]}::text[]) and state <> 'released'
      and (reserved_at > at - interval '1 day' or run_id = ${run})
    group by quantity`.execute(trx);
  return Object.fromEntries(rows.map(({ quantity, ...scopes }) => [quantity, scopes]));
}

/** Holds what a call may spend from now on. Of a call that holds it already, nothing changes. */
export async function hold(
  trx: Transaction<Database>,
  spender: Spender,
  call: string,
  amounts: Readonly<Record<string, number>>,
): Promise<void> {
  const rows = Object.entries(amounts).map(([quantity, amount]) => ({
    tenant: spender.tenant,
    run_id: spender.run,
    call_id: call,
    quantity,
    amount,
    state: 'held' as const,
    acting_user: spender.user,
    agent: spender.agent,
    reserved_at: sql<Date>`clock_timestamp()`,
  }));
  if (rows.length === 0) return;
  await trx
    .insertInto('quantity_windows')
    .values(rows)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/**
 * What a call has come to. Where it took place, it has spent what it held, and more where its catalog says so; where it
 * certainly did not, it gives back what it held.
 */
export async function settleQuantities(
  trx: Transaction<Database>,
  run: string,
  call: string,
  spent: Readonly<Record<string, number>> | null,
): Promise<void> {
  const told = storableJson(spent ?? {});
  await sql`
    update quantity_windows set state = ${spent === null ? 'released' : 'spent'},
      overage = greatest(0, coalesce((${told}::jsonb ->> quantity)::int8, 0) - amount)
    where run_id = ${run} and call_id = ${call} and state = 'held'`.execute(trx);
}
