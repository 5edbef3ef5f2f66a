import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';

/** Waiting runs that are told of more budget at once; the others hear of the next raise, or wait until they expire. */
const MOST_TOLD = 1_000;

/**
 * Brings this month's accounts of the tenant and its users to what is set by now, and what was added to each on top of
 * it. The caller holds `lockSettings`. Returns whether any of them has more than before.
 */
export async function applyLimits(trx: Transaction<Database>, tenant: string): Promise<boolean> {
  const month = tenantMonthAccount(Date.now());
  const users = userMonthAccount(Date.now(), '');
  const { rows } = await sql<{ more: boolean }>`
    with wanted as materialized (
      select a.id, a.limit_micro_usd as was,
        case when a.id = ${month} then s.month_budget_micro_usd
          else coalesce(u.month_limit_micro_usd, s.user_month_micro_usd) end
        + coalesce((select sum(e.amount_micro_usd) from ledger_entries e
          where e.tenant = a.tenant and e.account = a.id and e.kind = 'raise'), 0)::int8 as micro
      from ledger_accounts a join tenant_settings s on s.id = a.tenant
        left join user_limits u on u.tenant = a.tenant and a.id = ${users} || u.subject
      where a.tenant = ${tenant} and (a.id = ${month} or starts_with(a.id, ${users}))
      order by a.id desc for update of a
    )
    update ledger_accounts a set limit_micro_usd = w.micro from wanted w
    where a.tenant = ${tenant} and a.id = w.id and w.was is distinct from w.micro
    returning w.micro is null or w.micro > w.was as more`.execute(trx);
  return rows.some(({ more }) => more);
}

/** Runs that stand still for want of budget look again, of one user or of all; returns what that owes Temporal. */
export async function tellWaiting(trx: Transaction<Database>, tenant: string, user?: string): Promise<number[]> {
  let query = trx
    .selectFrom('agent_runs')
    .select('id')
    .where('status', '=', 'budget_exceeded')
    .where('closed_at', 'is', null);
  if (user !== undefined) query = query.where('acting_user', '=', user);
  const waiting = await query.orderBy('created_at').limit(MOST_TOLD).execute();
  const outbox: number[] = [];
  for (const { id } of waiting) {
    const raiseId = user === undefined ? 'tenant-month' : 'user-month';
    outbox.push(await enqueue(trx, tenant, { kind: 'raise_budget', runId: id, payload: { raiseId } }));
  }
  return outbox;
}

/** Throws INVALID_REQUEST where the tenant's tier gives no numbers and it has not all of its own. */
export async function refuseWithoutNumbers(trx: Transaction<Database>, tenant: string): Promise<void> {
  const row = await trx
    .selectFrom('tenants as n')
    .innerJoin('tiers as t', 't.name', 'n.tier')
    .select(['t.month_budget_micro_usd as given', 'n.month_budget_micro_usd as month', 'n.tier'])
    .select(['n.max_concurrent_runs as slots', 'n.max_runs_per_day as day'])
    .where('n.id', '=', tenant)
    .executeTakeFirst();
  if (row === undefined || row.given !== null || ![row.month, row.slots, row.day].includes(null)) return;
  throw new StewardError(
    'INVALID_REQUEST',
    `Tier ${row.tier} gives no numbers: set month_budget_micro_usd, max_concurrent_runs and max_runs_per_day with it.`,
    { details: { field: 'tier' } },
  );
}
