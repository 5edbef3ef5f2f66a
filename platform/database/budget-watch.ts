import { sql, type Transaction } from 'kysely';
import { monthOfAccount, tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import { FREED_HINT } from '#domain/run-workflow.ts';
import { type NewAlarm, STEPS, untoldAlarms } from './alarms.ts';
import { storableJson } from './storable.ts';
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

/** A run that waits is told so often at most. */
const TOLD_EVERY = '1 minute';

/**
 * Tells runs that stand still because others had reserved what was left of a level, once that is free again: settled for
 * less, given back. Oldest first, and no more of them than it affords. Returns what that owes Temporal.
 */
export async function tellOfFreed(trx: Transaction<Database>, tenant: string, now: Date): Promise<number[]> {
  const [month, users] = [tenantMonthAccount(now.getTime()), userMonthAccount(now.getTime(), '')];
  const payload = storableJson({ raiseId: FREED_HINT });
  const { rows } = await sql<{ id: number }>`
    with waiting as (
      select r.id, r.created_at, s.data ->> 'level' as level, r.acting_user, coalesce(r.waits_for_micro_usd, (s.data ->> 'need')::int8) as wants
      from agent_runs r cross join lateral (select e.data from agent_run_events e
        where e.run_id = r.id and e.kind = 'budget.exhausted' order by e.sequence desc limit 1) s
      where r.tenant = ${tenant} and r.status = 'budget_exceeded' and r.closed_at is null
        and not exists (select from outbox o where o.tenant = r.tenant and o.run_id = r.id and o.kind = 'raise_budget'
          and (o.delivered_at is null or o.created_at > now() - ${TOLD_EVERY}::interval))
      order by r.created_at limit ${TOLD_AT_ONCE}),
    free as (
      select w.*, case w.level
        when 'product_month' then (select m.limit_micro_usd - (select sum(p.settled_micro_usd + p.reserved_micro_usd)
          from product_accounts p where p.month = m.month) from product_months m where m.month = ${monthOfAccount(month)})
        else (select a.limit_micro_usd - a.settled_micro_usd - a.reserved_micro_usd from ledger_accounts a
          where a.tenant = ${tenant} and a.id = case w.level when 'user_month' then ${users} || w.acting_user
            when 'tenant_month' then ${month} else 'run/' || w.id end) end as micro,
        sum(wants) over (partition by w.level, case w.level when 'user_month' then w.acting_user
          when 'run' then w.id end order by w.created_at, w.id) as together
      from waiting w)
    insert into outbox (tenant, kind, run_id, payload)
    select ${tenant}, 'raise_budget', id, ${payload}::jsonb from free where wants > 0 and together <= micro
    returning id`.execute(trx);
  return rows.map(({ id }) => id);
}
