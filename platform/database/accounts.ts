import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { monthOfAccount, productPart, runAccount, tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import type { BudgetLevel } from '#domain/run.ts';
import { LruCache } from '#platform/identity/lru-cache.ts';
import { EVEN_PART } from './product.ts';
import type { Database } from './tables.ts';

/**
 * The accounts of the budget tree: opened before anything is locked, then locked run, user, tenant, and the product's
 * part last, by the statement that moves it. All amounts are micro-USD.
 */

export interface Remainder {
  readonly level: BudgetLevel;
  readonly account: string;
  /** `Number.MAX_SAFE_INTEGER` where there is no limit. */
  readonly micro: number;
}

/** What a run's accounts still afford, from the narrowest to the widest. */
export interface Remainders {
  readonly run: Remainder;
  readonly user: Remainder;
  readonly month: Remainder;
  /** Of the run's own part, as it was read and not locked. */
  readonly product: Remainder;
  readonly all: readonly Remainder[];
  /** What the user's calls are counted by. */
  readonly rate: UserRate;
}

/** Busy minutes of users within a day, under which a 99th percentile says nothing. */
const LEAST_MINUTES = 100;

/** Calls of a user in the minute that `minute` begins, and the tenant's 99th percentile of them; 0: not known yet. */
export interface UserRate {
  readonly minute: number;
  readonly calls: number;
  readonly p99: number;
}

/** Accounts that this process has seen committed: those are never taken away. */
const opened = new LruCache<string, true>(20_000);

/** The months that a run of this user is reserved on at `now`. */
interface Months {
  readonly month: string;
  readonly tenantMonth: string;
  /** Empty where no user was named. */
  readonly userMonth: string;
}

/**
 * Locks the accounts of a run and says what each still affords. Those of the month are opened where they are new. Belongs
 * before everything else that is locked.
 */
export async function lockRemainders(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  now: Date,
): Promise<Remainders> {
  const months = await monthsOf(trx, tenant, run, now);
  const accounts = [runAccount(run), months.userMonth, months.tenantMonth];
  const { rows } = await sql<{
    id: string;
    remainder: number | null;
    product: number | null;
    minute: Date | null;
    calls: number;
    p99: number | null;
  }>`
    select a.id, a.limit_micro_usd - a.settled_micro_usd - a.reserved_micro_usd as remainder,
      a.rate_minute as minute, a.rate_calls as calls,
      (select p.allotted_micro_usd - p.settled_micro_usd - p.reserved_micro_usd from product_accounts p
        where p.month = ${months.month} and p.part = ${productPart(run)}) as product,
      (select b.p99_calls_per_minute from tenant_baselines b
        where b.tenant = ${tenant} and b.minutes >= ${LEAST_MINUTES}) as p99
    from ledger_accounts a where a.id = any(${accounts}::text[])
    order by array_position(${accounts}::text[], a.id)
    for update of a`.execute(trx);
  const found = new Map(rows.map((row) => [row.id, row]));
  const remainder = (level: BudgetLevel, account: string): Remainder => {
    const row = found.get(account);
    if (row === undefined) {
      const what = level === 'run' ? `Run ${run} has no ledger account.` : `Account ${account} could not be opened.`;
      throw new StewardError('INTERNAL', what);
    }
    return { level, account, micro: row.remainder ?? Number.MAX_SAFE_INTEGER };
  };
  const own = remainder('run', accounts[0] as string);
  const user = remainder('user_month', months.userMonth);
  const month = remainder('tenant_month', months.tenantMonth);
  const product: Remainder = {
    level: 'product_month',
    account: months.month,
    micro: rows[0]?.product ?? Number.MAX_SAFE_INTEGER,
  };
  const rate = found.get(months.userMonth);
  return {
    run: own,
    user,
    month,
    product,
    all: [own, user, month, product],
    rate: { minute: rate?.minute?.getTime() ?? 0, calls: rate?.calls ?? 0, p99: rate?.p99 ?? 0 },
  };
}

/** Whom each run acts for: it never changes. */
const usersOf = new LruCache<string, string>(5_000);

async function monthsOf(trx: Transaction<Database>, tenant: string, run: string, now: Date): Promise<Months> {
  const key = `${tenant}/${run}`;
  let user = usersOf.get(key);
  if (user === undefined) {
    const row = await trx.selectFrom('agent_runs').select('acting_user').where('id', '=', run).executeTakeFirst();
    if (row === undefined) throw new StewardError('NOT_FOUND', `There is no run ${run} in tenant ${tenant}.`);
    user = row.acting_user;
    usersOf.set(key, user);
  }
  return openMonths(trx, tenant, user, now);
}

/**
 * Opens the accounts of a month that are new, a user's where one is named, with the limits that are set by then; before anything is locked. Who
 * changes those limits holds `lockSettings`, so that no account is opened at what was.
 */
export async function openMonths(
  trx: Transaction<Database>,
  tenant: string,
  user: string | null,
  now: Date,
): Promise<Months> {
  const tenantMonth = tenantMonthAccount(now.getTime());
  const userMonth = user === null ? '' : userMonthAccount(now.getTime(), user);
  const months: Months = { month: monthOfAccount(tenantMonth) as string, tenantMonth, userMonth };
  const known = [`${tenant}/${userMonth}`, `${tenant}/${tenantMonth}`, `product/${months.month}`];
  if (known.every((key, at) => (at === 0 && user === null) || opened.get(key) === true)) return months;
  await sql`select pg_advisory_xact_lock_shared(${settingsKey(tenant)})`.execute(trx);
  const { rows } = await sql<{ id: string }>`
    with accounts as (
      insert into ledger_accounts (tenant, id, limit_micro_usd)
      select v.tenant, v.id, v.micro from (
        select s.id as tenant, ${userMonth}::text as id, coalesce((select u.month_limit_micro_usd from user_limits u
          where u.tenant = s.id and u.subject = ${user}::text), s.user_month_micro_usd) as micro, 1 as place
        from tenant_settings s where s.id = ${tenant} and ${user}::text is not null
        union all select s.id, ${tenantMonth}, s.month_budget_micro_usd, 2 from tenant_settings s where s.id = ${tenant}
      ) v order by v.place on conflict do nothing returning id
    ), months as (
      insert into product_months (month, limit_micro_usd)
      select ${months.month}, s.month_limit_micro_usd from product_settings s on conflict do nothing returning month
    ), parts as (
      insert into product_accounts (month, part, allotted_micro_usd)
      select m.month, p.part, ${EVEN_PART} from months m, product_settings s, generate_series(0, 7) as p (part)
      order by p.part on conflict do nothing returning month
    )
    select id from accounts union all select month from months`.execute(trx);
  const fresh = new Set(rows.map(({ id }) => id));
  // What this transaction opens may yet be rolled back.
  for (const [at, id] of [userMonth, tenantMonth, months.month].entries()) {
    if (!fresh.has(id)) opened.set(known[at] as string, true);
  }
  return months;
}

/** Held alone by who changes what months are opened with; taken before accounts. */
export async function lockSettings(trx: Transaction<Database>, tenant: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(${settingsKey(tenant)})`.execute(trx);
}

function settingsKey(tenant: string) {
  return sql`hashtextextended(${`steward.settings/${tenant}`}, 0)`;
}
