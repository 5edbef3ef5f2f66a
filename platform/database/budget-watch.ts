import { sql, type Transaction } from 'kysely';
import { tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import { type NewAlarm, STEPS, untoldAlarms } from './alarms.ts';
import type { Database } from './tables.ts';

const TOLD_AT_ONCE = 100;

/**
 * One pass over a tenant: how fast its users usually call models, measured anew every ten minutes, and the alarms of
 * levels whose limit has been lowered past them; returns the alarms that are not a line of the log yet.
 */
export async function watchBudget(trx: Transaction<Database>, tenant: string): Promise<readonly NewAlarm[]> {
  await sql`
    insert into tenant_baselines as b (tenant, p99_calls_per_minute, minutes)
    select ${tenant}, coalesce(percentile_disc(0.99) within group (order by calls), 0), count(*)
    from (select count(*) as calls from agent_run_costs c
      where c.tenant = ${tenant} and c.created_at >= now() - interval '1 day' and c.user_account is not null
      group by c.user_account, date_trunc('minute', c.created_at)) as busy
    where not exists (select from tenant_baselines k where k.tenant = ${tenant} and k.at > now() - interval '10 minutes')
    having not exists (select from tenant_baselines k where k.tenant = ${tenant} and k.at > now() - interval '10 minutes')
    on conflict (tenant) do update set p99_calls_per_minute = excluded.p99_calls_per_minute, minutes = excluded.minutes,
      at = now()`.execute(trx);
  await raiseReached(trx, tenant);
  return untoldAlarms(trx, TOLD_AT_ONCE);
}

/** Settlements raise the alarms of what they cross. Whatever is crossed otherwise is found here, this month's. */
async function raiseReached(trx: Transaction<Database>, tenant: string): Promise<void> {
  const [month, users] = [tenantMonthAccount(Date.now()), userMonthAccount(Date.now(), '')];
  await sql`
    insert into budget_alarms (tenant, kind, subject, step, data)
    select a.tenant, 'level', a.id, s.step, json_build_object('level',
      case when a.id = ${month} then 'tenant_month' else 'user_month' end,
      'limit', a.limit_micro_usd, 'settled', a.settled_micro_usd)
    from ledger_accounts a, unnest(${[...STEPS]}::int[]) as s (step)
    where a.tenant = ${tenant} and (a.id = ${month} or starts_with(a.id, ${users}))
      and a.settled_micro_usd > 0 and a.settled_micro_usd * 100 >= a.limit_micro_usd * s.step
      and not exists (select from budget_alarms k
        where k.tenant = a.tenant and k.kind = 'level' and k.subject = a.id and k.step = s.step)
    on conflict do nothing`.execute(trx);
}
