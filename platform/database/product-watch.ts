import { sql, type Transaction } from 'kysely';
import { storableJson } from './storable.ts';
import type { Database } from './tables.ts';

/** Stands for a tenant where a transaction is about the product: no tenant has this name. */
export const PRODUCT = '*product*';

/** A day alarms above so many percent of the average of the seven before it, where there were at least three. */
const DAY_PERCENT = 150;
const LEAST_DAYS = 3;
/** A minute alarms above so many percent of what a minute of the hour before was, once there was half an hour. */
const MINUTE_PERCENT = 1_000;
const LEAST_MINUTES = 30;
/** Below this nothing alarms: micro-USD of a day, and of a minute. */
const LEAST_DAY = 1_000_000;
const LEAST_MINUTE = 100_000;
const KEPT = '9 days';
const MOST_TOLD = 500;

/** An alarm of the product. */
export interface ProductAlarm {
  readonly kind: string;
  readonly subject: string;
  readonly step: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * One pass: notes what the product has cost by now, compares this minute with the last hour, this day with the seven
 * before it, and the month with its limit. Returns alarms that are new. Called by the sweeper alone.
 */
export async function watchProduct(trx: Transaction<Database>, now: Date): Promise<readonly ProductAlarm[]> {
  await sql`insert into product_samples (at, settled_micro_usd)
    select ${now}, coalesce(sum(settled_micro_usd), 0) from product_accounts on conflict do nothing`.execute(trx);
  await sql`delete from product_samples where at < ${now}::timestamptz - ${KEPT}::interval`.execute(trx);
  await sql`
    with at as (select ${now}::timestamptz as now, date_trunc('day', ${now}::timestamptz at time zone 'utc')
      at time zone 'utc' as today),
    last as (select settled_micro_usd as total from product_samples where at <= ${now} order by at desc limit 1),
    -- What had been spent by the beginning of today and of the seven days before it, as far as there are samples.
    days as (
      select n, (select s.settled_micro_usd from product_samples s
        where s.at >= at.today - n * interval '1 day' and s.at < at.today - (n - 1) * interval '1 day'
        order by s.at limit 1) as total
      from at, generate_series(0, 7) as n),
    day as (
      select last.total - (select total from days where n = 0) as spent,
        ((select total from days where n = 0) - (select total from days where n > 0 and total is not null
          order by n desc limit 1)) / nullif((select max(n) from days where n > 0 and total is not null), 0) as usual,
        coalesce((select max(n) from days where n > 0 and total is not null), 0) as known
      from last),
    minute as (
      select last.total - a.total as spent,
        (a.total - b.total) / greatest(1, extract(epoch from a.at - b.at) / 60) as usual,
        extract(epoch from a.at - b.at) / 60 as known
      from last,
        lateral (select s.at, s.settled_micro_usd as total from product_samples s, at
          where s.at <= at.now - interval '55 seconds' order by s.at desc limit 1) as a,
        lateral (select s.at, s.settled_micro_usd as total from product_samples s, at
          where s.at >= at.now - interval '61 minutes' order by s.at limit 1) as b),
    month as (
      select m.month, m.limit_micro_usd as most, sum(p.settled_micro_usd) as spent
      from product_months m join product_accounts p on p.month = m.month, at
      where m.month = to_char(at.now at time zone 'utc', 'YYYY-MM') and m.limit_micro_usd > 0
      group by m.month, m.limit_micro_usd)
    insert into product_alarms (kind, subject, step, data)
    select 'day', to_char(at.now at time zone 'utc', 'YYYY-MM-DD'), ${DAY_PERCENT}::int,
      jsonb_build_object('spent', d.spent, 'average', round(d.usual), 'days', d.known)
    from day d, at where d.known >= ${LEAST_DAYS} and d.spent >= ${LEAST_DAY} and d.spent * 100 > d.usual * ${DAY_PERCENT}
    union all
    select 'minute', to_char(at.now at time zone 'utc', 'YYYY-MM-DD"T"HH24'), ${MINUTE_PERCENT}::int,
      jsonb_build_object('spent', m.spent, 'average', round(m.usual), 'minutes', round(m.known))
    from minute m, at where m.known >= ${LEAST_MINUTES} and m.spent >= ${LEAST_MINUTE}
      and m.spent * 100 > m.usual * ${MINUTE_PERCENT}
    union all
    select 'level', 'product-month/' || m.month, step,
      jsonb_build_object('level', 'product_month', 'settled', m.spent, 'limit', m.most)
    from month m, unnest(array[50, 75, 90, 100]) as step where m.spent * 100 >= m.most * step
    on conflict do nothing`.execute(trx);
  const { rows } = await sql<ProductAlarm>`
    update product_alarms set told = true where not told returning kind, subject, step, data`.execute(trx);
  return rows;
}

/** Runs of a tenant that wait for the product, and have not looked since there was more of it, are told to look again. */
export async function tellOfProduct(trx: Transaction<Database>, tenant: string): Promise<number[]> {
  const payload = storableJson({ raiseId: 'product-month' });
  const { rows } = await sql<{ id: number }>`
    insert into outbox (tenant, kind, run_id, payload)
    select ${tenant}, 'raise_budget', r.id, ${payload}::jsonb
    from agent_runs r cross join product_settings s
    where r.tenant = ${tenant} and r.status = 'budget_exceeded' and r.closed_at is null and s.raised_at is not null
      and not exists (select from outbox o where o.tenant = r.tenant and o.run_id = r.id and o.kind = 'raise_budget'
        and o.created_at >= s.raised_at)
      and (select e.data ->> 'level' from agent_run_events e where e.run_id = r.id and e.kind = 'budget.exhausted'
        order by e.sequence desc limit 1) = 'product_month'
    order by r.created_at limit ${MOST_TOLD}
    returning id`.execute(trx);
  return rows.map(({ id }) => id);
}
