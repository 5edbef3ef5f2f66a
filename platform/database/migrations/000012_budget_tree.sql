-- The budget tree: product > tenant-month > user-month > run, tiers as data, alarms, and what is charged.

-- What a tenant gets that has no setting of its own. Null: nothing is given, the tenant's own number is needed; for a
-- user's month: users have no limit of their own.
create table steward.tiers (
  name text primary key,
  month_budget_micro_usd bigint check (month_budget_micro_usd >= 0),
  max_concurrent_runs int check (max_concurrent_runs between 0 and 10000),
  max_runs_per_day int check (max_runs_per_day between 0 and 1000000),
  user_month_micro_usd bigint check (user_month_micro_usd >= 0)
);
insert into steward.tiers values
  ('free', 5000000, 2, 5, null), ('pro', 50000000, 10, 50, null), ('enterprise', null, null, null, null);
grant select on steward.tiers to steward_run_api, steward_guard, steward_worker;

-- Null: the tier's. What was set to just what the tier gives is the tier's from now on.
alter table steward.tenants
  alter column month_budget_micro_usd drop not null, alter column month_budget_micro_usd drop default,
  alter column max_concurrent_runs drop not null, alter column max_concurrent_runs drop default,
  alter column max_runs_per_day drop not null, alter column max_runs_per_day drop default,
  add column user_month_micro_usd bigint check (user_month_micro_usd >= 0),
  -- as_used: every run at what it cost. refund_failed: runs that failed, were terminated or timed out cost their tenant
  -- and user nothing. refund_unfinished: the same for every run that did not complete.
  add column charge_policy text not null default 'as_used'
    check (charge_policy in ('as_used', 'refund_failed', 'refund_unfinished'));
alter table steward.tenants no force row level security;
update steward.tenants n set
  month_budget_micro_usd = nullif(n.month_budget_micro_usd, t.month_budget_micro_usd),
  max_concurrent_runs = nullif(n.max_concurrent_runs, t.max_concurrent_runs),
  max_runs_per_day = nullif(n.max_runs_per_day, t.max_runs_per_day)
from steward.tiers t where t.name = n.tier;
alter table steward.tenants force row level security;

-- A tenant's settings as they count: its own, or else its tier's, or else nothing.
create view steward.tenant_settings with (security_invoker = true) as
  select n.id, n.tier, n.charge_policy,
    coalesce(n.month_budget_micro_usd, t.month_budget_micro_usd, 0) as month_budget_micro_usd,
    coalesce(n.max_concurrent_runs, t.max_concurrent_runs, 0) as max_concurrent_runs,
    coalesce(n.max_runs_per_day, t.max_runs_per_day, 0) as max_runs_per_day,
    coalesce(n.user_month_micro_usd, t.user_month_micro_usd) as user_month_micro_usd
  from steward.tenants n join steward.tiers t on t.name = n.tier;
grant select on steward.tenant_settings to steward_run_api, steward_guard, steward_worker;

-- A user's own month, where it is not the one that all users of the tenant have.
create table steward.user_limits (
  tenant text not null references steward.tenants (id),
  subject text not null check (length(subject) between 1 and 200),
  month_limit_micro_usd bigint not null check (month_limit_micro_usd >= 0),
  set_by text not null,
  set_at timestamptz not null default now(),
  primary key (tenant, subject)
);

-- Of users only: null is no limit.
alter table steward.ledger_accounts alter column limit_micro_usd drop not null,
  add constraint ledger_accounts_limited check (limit_micro_usd is not null or id like 'user-month/%');
-- Model calls in the minute that `rate_minute` begins, on a user's account.
alter table steward.ledger_accounts add column rate_minute timestamptz, add column rate_calls int not null default 0;
grant update (rate_minute, rate_calls) on steward.ledger_accounts to steward_worker;

drop policy month_as_set on steward.ledger_accounts;
create policy months_as_set on steward.ledger_accounts as restrictive for insert to steward_worker
  with check (reserved_micro_usd = 0 and settled_micro_usd = 0 and (
    (id ~ '^tenant-month/\d{4}-\d\d$' and limit_micro_usd =
      (select s.month_budget_micro_usd from steward.tenant_settings s where s.id = ledger_accounts.tenant))
    or (id ~ '^user-month/\d{4}-\d\d/.' and limit_micro_usd is not distinct from coalesce(
      (select u.month_limit_micro_usd from steward.user_limits u
        where u.tenant = ledger_accounts.tenant and u.subject = substr(ledger_accounts.id, 20)),
      (select s.user_month_micro_usd from steward.tenant_settings s where s.id = ledger_accounts.tenant)))));

alter table steward.ledger_entries drop constraint ledger_entries_kind_check;
-- refund: what a run cost is given back to its user and its tenant, as the tenant's charge_policy says; negative where an
-- attempt of a refunded run turned out to have cost less.
alter table steward.ledger_entries add constraint ledger_entries_kind_check
  check (kind in ('raise', 'charge', 'overage', 'refund'));
create index ledger_entries_run on steward.ledger_entries (run_id, kind) where run_id is not null;
drop policy spending_only on steward.ledger_entries;
create policy spending_only on steward.ledger_entries as restrictive for insert to steward_worker
  with check (kind in ('charge', 'overage', 'refund'));

-- Null on what was reserved before users had accounts; such an attempt has no part in the product's account either.
alter table steward.agent_run_costs add column user_account text;
create index agent_run_costs_recent on steward.agent_run_costs (tenant, created_at);

alter table steward.agent_runs
  -- What a run of its agent costs, as it was when this one was started: the median of the last closed ones. Null: too few.
  add column typical_micro_usd bigint check (typical_micro_usd >= 0),
  add column refunded_micro_usd bigint not null default 0;
grant update (refunded_micro_usd) on steward.agent_runs to steward_worker;

-- How fast users call models: what a throttle is measured by. One row a tenant, written by the sweeper.
create table steward.tenant_baselines (
  tenant text primary key references steward.tenants (id),
  -- Of all minutes in which a user called a model, over the last day.
  p99_calls_per_minute int not null,
  minutes int not null,
  at timestamptz not null default now()
);

-- One row per thing that happened once: `subject` says which account or run, `step` how far.
create table steward.budget_alarms (
  tenant text not null references steward.tenants (id),
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('level', 'runaway', 'runaway_stopped', 'throttled')),
  subject text not null,
  step int not null,
  run_id text,
  -- The evidence: amounts, limits, and what they were measured by.
  data jsonb not null,
  at timestamptz not null default now(),
  acknowledged_by text,
  acknowledged_at timestamptz,
  unique (tenant, kind, subject, step)
);

do $$
declare
  t text;
begin
  foreach t in array array['user_limits', 'tenant_baselines', 'budget_alarms']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
    execute format('create policy own_tenant on steward.%I using (tenant = steward.current_tenant()) '
      'with check (tenant = steward.current_tenant())', t);
  end loop;
end
$$;
grant select on steward.user_limits, steward.tenant_baselines, steward.budget_alarms to steward_run_api, steward_worker;
grant insert, delete on steward.user_limits to steward_run_api;
grant update (month_limit_micro_usd, set_by, set_at) on steward.user_limits to steward_run_api;
grant insert on steward.tenant_baselines to steward_worker;
grant update (p99_calls_per_minute, minutes, at) on steward.tenant_baselines to steward_worker;
grant insert on steward.budget_alarms to steward_worker;
grant update (acknowledged_by, acknowledged_at) on steward.budget_alarms to steward_run_api;

-- The product: all tenants together. No row here says anything of one tenant.

-- One row. `platform_tenant` is the tenant whose people see and set the product level: named by whoever owns the database.
create table steward.product_settings (
  one boolean primary key default true check (one),
  platform_tenant text,
  -- Null: none.
  month_limit_micro_usd bigint check (month_limit_micro_usd >= 0),
  -- When there was last more: runs that wait for the product look again.
  raised_at timestamptz
);
insert into steward.product_settings default values;

-- What a month may cost: as the settings said when it began, and as it was changed since.
create table steward.product_months (
  month text primary key check (month ~ '^\d{4}-\d\d$'),
  limit_micro_usd bigint check (limit_micro_usd >= 0)
);

-- A month's account in parts, so that the runs of all tenants do not wait for one row. A run has its part by its id; the
-- parts' allotments come to the month's limit, and are moved between them where one runs out.
create table steward.product_accounts (
  month text not null references steward.product_months (month),
  part smallint not null check (part between 0 and 7),
  allotted_micro_usd bigint check (allotted_micro_usd >= 0),
  reserved_micro_usd bigint not null default 0 check (reserved_micro_usd >= 0),
  settled_micro_usd bigint not null default 0 check (settled_micro_usd >= 0),
  primary key (month, part)
) with (fillfactor = 50);

create function steward.allotted_within_limit() returns trigger
  language plpgsql
  as $$
begin
  if (select coalesce(sum(a.allotted_micro_usd), 0) from steward.product_accounts a where a.month = new.month) >
     coalesce((select m.limit_micro_usd from steward.product_months m where m.month = new.month), 0) then
    raise exception 'the parts of % are allotted more than the month has', new.month using errcode = '42501';
  end if;
  return null;
end
$$;
create constraint trigger allotted_within_limit after insert or update of allotted_micro_usd on steward.product_accounts
  deferrable initially deferred for each row when (new.allotted_micro_usd is not null)
  execute function steward.allotted_within_limit();

-- What was added to a month beyond its limit: made once per id.
create table steward.product_entries (
  id bigint generated always as identity primary key,
  month text not null references steward.product_months (month),
  kind text not null check (kind in ('raise')),
  amount_micro_usd bigint not null check (amount_micro_usd > 0),
  raise_id text not null unique,
  by_subject text not null,
  reason text not null,
  at timestamptz not null default now()
);

-- What the product had cost by then, all months together; written by the sweeper, kept for nine days.
create table steward.product_samples (
  at timestamptz primary key,
  settled_micro_usd bigint not null
);

create table steward.product_alarms (
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('level', 'day', 'minute')),
  subject text not null,
  step int not null,
  data jsonb not null,
  at timestamptz not null default now(),
  acknowledged_by text,
  acknowledged_at timestamptz,
  unique (kind, subject, step)
);

do $$
declare
  t text;
begin
  foreach t in array array['product_settings', 'product_months', 'product_accounts', 'product_entries', 'product_samples',
    'product_alarms']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
  end loop;
  -- Every tenant's run needs these to be reserved for.
  foreach t in array array['product_settings', 'product_months', 'product_accounts']
  loop
    execute format('create policy any_tenant on steward.%I using (steward.current_tenant() is not null) '
      'with check (steward.current_tenant() is not null)', t);
  end loop;
  foreach t in array array['product_entries', 'product_samples', 'product_alarms']
  loop
    execute format('create policy platform_or_worker on steward.%I '
      'using (current_user = ''steward_worker'' or steward.current_tenant() = '
      '(select s.platform_tenant from steward.product_settings s)) '
      'with check (current_user = ''steward_worker'' or steward.current_tenant() = '
      '(select s.platform_tenant from steward.product_settings s))', t);
  end loop;
end
$$;
-- Only the platform's people change what the product may cost.
create policy platform_sets on steward.product_settings as restrictive for update to steward_run_api
  using (steward.current_tenant() = platform_tenant);
create policy platform_sets on steward.product_months as restrictive for update to steward_run_api
  using (steward.current_tenant() = (select s.platform_tenant from steward.product_settings s));
create policy platform_sets on steward.product_accounts as restrictive for update to steward_run_api
  using (steward.current_tenant() = (select s.platform_tenant from steward.product_settings s));
create policy month_as_set on steward.product_months as restrictive for insert to steward_worker, steward_run_api
  with check (limit_micro_usd is not distinct from (select s.month_limit_micro_usd from steward.product_settings s));

grant select on steward.product_settings, steward.product_months, steward.product_accounts, steward.product_entries,
  steward.product_samples, steward.product_alarms to steward_run_api, steward_worker;
grant update (month_limit_micro_usd, raised_at) on steward.product_settings to steward_run_api;
grant insert on steward.product_months, steward.product_accounts to steward_run_api, steward_worker;
grant update (limit_micro_usd) on steward.product_months to steward_run_api;
grant update (allotted_micro_usd) on steward.product_accounts to steward_run_api, steward_worker;
grant update (reserved_micro_usd, settled_micro_usd) on steward.product_accounts to steward_worker;
grant insert on steward.product_entries to steward_run_api;
grant insert, delete on steward.product_samples to steward_worker;
grant insert on steward.product_alarms to steward_worker;
grant update (acknowledged_by, acknowledged_at) on steward.product_alarms to steward_run_api;
