import { sql, type Transaction } from 'kysely';
import { type NewAlarm, untoldAlarms } from './alarms.ts';
import type { Database } from './tables.ts';

const TOLD_AT_ONCE = 100;

/**
 * One pass over a tenant: how fast its users usually call models, measured anew every ten minutes; returns the alarms
 * that are not a line of the log yet.
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
  return untoldAlarms(trx, TOLD_AT_ONCE);
}
