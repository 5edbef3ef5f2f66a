import { sql, type Transaction } from 'kysely';
import type { RunRef } from '#domain/ports/run-store.ts';
import { type ClosedStatus, isRefunded } from '#domain/run.ts';
import type { LockedAttempt } from './ledger.ts';
import type { Database } from './tables.ts';

/**
 * What a run cost, given back to its user and its tenant as the tenant's charge policy says. The provider was paid all
 * the same: the run's own account and the product's keep what they have. Refunds are entries; nothing is rewritten.
 */

/** Gives back what the run has settled, where its end is one that is given back. Its accounts and its row are locked. */
export async function refundRun(trx: Transaction<Database>, ref: RunRef, status: ClosedStatus): Promise<number> {
  if (status === 'completed') return 0;
  const { charge_policy: policy } = await trx
    .selectFrom('tenants')
    .select('charge_policy')
    .where('id', '=', ref.tenant)
    .executeTakeFirstOrThrow();
  if (!isRefunded(policy, status)) return 0;
  const rows = await trx
    .selectFrom('agent_run_costs')
    .select(['user_account', 'month_account'])
    .select((eb) => eb.fn.sum<number>('settled_micro_usd').as('settled'))
    .where('run_id', '=', ref.run)
    .where('settled_micro_usd', '>', 0)
    .groupBy(['user_account', 'month_account'])
    .orderBy('month_account')
    .execute();
  let all = 0;
  for (const { user_account: user, month_account: month, settled } of rows) {
    const micro = Number(settled);
    await giveBack(trx, ref, [...(user === null ? [] : [user]), month], micro, policy);
    all += micro;
  }
  return all;
}

/** An attempt that was charged at its reservation and given back with its run turned out to cost `by` more, or less. */
export async function refundMore(
  trx: Transaction<Database>,
  tenant: string,
  attempt: LockedAttempt,
  by: number,
): Promise<void> {
  if (by === 0) return;
  const run = await trx
    .updateTable('agent_runs')
    .set({ refunded_micro_usd: sql`refunded_micro_usd + ${by}` })
    .where('id', '=', attempt.run)
    .where('refunded_micro_usd', '>', 0)
    .returning('id')
    .executeTakeFirst();
  if (run === undefined) return;
  const accounts = [...(attempt.user === null ? [] : [attempt.user]), attempt.month];
  await giveBack(trx, { tenant, run: attempt.run }, accounts, by, 'corrected');
}

async function giveBack(
  trx: Transaction<Database>,
  { tenant, run }: RunRef,
  accounts: readonly string[],
  micro: number,
  reason: string,
): Promise<void> {
  await sql`
    with locked as (
      select id from ledger_accounts where id = any(${accounts}::text[])
      order by array_position(${accounts}::text[], id) for update
    ), moved as (
      update ledger_accounts a set settled_micro_usd = settled_micro_usd - ${micro}
      from locked where a.id = locked.id returning a.id
    )
    insert into ledger_entries (tenant, account, kind, amount_micro_usd, run_id, reason)
    select ${tenant}, id, 'refund', ${micro}, ${run}, ${reason} from moved`.execute(trx);
}
