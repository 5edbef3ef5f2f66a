import { type RawBuilder, sql, type Transaction } from 'kysely';
import { type LimitScope, limitsInForce, type QuantityLimit, type Used } from '#domain/quantities.ts';
import { storableJson } from './storable.ts';
import type { Database } from './tables.ts';

/** Sums are cut here: above it, numbers are not exact any more, and every limit is passed long before. */
const MOST = Number.MAX_SAFE_INTEGER;

/** The highest tier of a limit that a person's answer lifts. */
export const MOST_ASKED_TIER = 3;

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
  // Nobody alone may lift what wants two persons, so it is not asked for.
  return limitsInForce(own.map((one) => (one.tier > MOST_ASKED_TIER ? { ...one, outcome: 'deny' } : one)));
}

/**
 * What is held or spent of these quantities in every window that ends now, by the database's clock. What is held counts in
 * all of them, however old: it may be spent in the next moment.
 */
export async function usedBy(
  trx: Transaction<Database>,
  spender: Spender,
  quantities: readonly string[],
): Promise<Used> {
  const { tenant, run, user, agent } = spender;
  const { rows } = await sql<{ quantity: string } & Record<LimitScope, number>>`
    with counting as (
      select w.quantity, w.run_id, w.acting_user, w.agent, w.amount + w.overage as amount,
        w.state = 'held' or w.reserved_at > clock.at - interval '1 hour' as hour,
        w.state = 'held' or w.reserved_at > clock.at - interval '1 day' as day
      from quantity_windows w, (select clock_timestamp() as at) clock
      where w.tenant = ${tenant} and w.quantity = any(${[...quantities]}::text[]) and w.state <> 'released'
        and (w.reserved_at > clock.at - interval '1 day' or w.state = 'held' or w.run_id = ${run}))
    select quantity, ${sum(sql`run_id = ${run}`)} as run,
      ${sum(sql`acting_user = ${user} and hour`)} as "user-hour", ${sum(sql`acting_user = ${user} and day`)} as "user-day",
      ${sum(sql`agent = ${agent} and day`)} as "agent-day",
      ${sum(sql`hour`)} as "tenant-hour", ${sum(sql`day`)} as "tenant-day"
    from counting group by quantity`.execute(trx);
  return Object.fromEntries(rows.map(({ quantity, ...scopes }) => [quantity, scopes]));
}

const sum = (which: RawBuilder<unknown>) =>
  sql`least(coalesce(sum(amount) filter (where ${which}), 0), ${sql.lit(MOST)})::int8`;

/** Whether a call has its reservation. One that still holds it counts from now on: it is about to begin once more. */
export async function holdsAlready(trx: Transaction<Database>, run: string, call: string): Promise<boolean> {
  const { rows } = await sql`
    update quantity_windows set reserved_at = case state when 'held' then clock_timestamp() else reserved_at end
    where run_id = ${run} and call_id = ${call} and state <> 'released' returning quantity`.execute(trx);
  return rows.length > 0;
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
    where run_id = ${run} and call_id = ${call} and state <> 'released'`.execute(trx);
}

/** What runs held that were closed by a worker of an earlier release: as `closeQuantities`. */
export async function closeOldQuantities(trx: Transaction<Database>, tenant: string): Promise<void> {
  await sql`
    update quantity_windows q set state = 'spent' from agent_runs r
    where q.tenant = ${tenant} and q.state = 'held' and r.id = q.run_id and r.closed_at is not null`.execute(trx);
}

/**
 * At the end of a run: nothing of it can begin any more, so what its calls of unknown outcome held counts as spent when it
 * was last let begin, and slides out of the windows. Where it is learned that nothing took place, it is given back.
 */
export async function closeQuantities(trx: Transaction<Database>, run: string): Promise<void> {
  await sql`update quantity_windows set state = 'spent' where run_id = ${run} and state = 'held'`.execute(trx);
}
