-- The spine: tenants, agents, runs with their steps, calls, costs and events, approvals, ledger, outbox, audit.
--
-- Every table with a tenant column has row-level security, forced, on the transaction-local setting app.tenant, which
-- platform/database/tenant.ts sets from a verified token or run grant. Service roles cannot bypass it. Each role is
-- granted what its process does and nothing else: only the guard writes decisions, nobody changes the audit log.

do $$
begin
  perform pg_advisory_xact_lock(7483646);
  if not exists (select from pg_roles where rolname = 'steward_run_api') then create role steward_run_api nologin; end if;
  if not exists (select from pg_roles where rolname = 'steward_guard') then create role steward_guard nologin; end if;
  if not exists (select from pg_roles where rolname = 'steward_worker') then create role steward_worker nologin; end if;
end
$$;

create schema if not exists steward;
grant usage on schema steward to steward_run_api, steward_guard, steward_worker;

create function steward.current_tenant() returns text
  language sql stable
  as $$ select nullif(current_setting('app.tenant', true), '') $$;

-- Ids only, so that sweepers can go tenant by tenant. Holds nothing of a tenant's.
create table steward.tenant_directory (
  id text primary key
);

create table steward.tenants (
  id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  tier text not null default 'free' check (tier in ('free', 'pro', 'enterprise')),
  month_budget_micro_usd bigint not null default 5000000 check (month_budget_micro_usd >= 0),
  max_concurrent_runs int not null default 2 check (max_concurrent_runs between 0 and 10000),
  max_runs_per_day int not null default 5 check (max_runs_per_day between 0 and 1000000),
  users_may_confirm boolean not null default true,
  allowed_email_domains text[] not null default '{}',
  created_at timestamptz not null default now()
);

create function steward.enter_directory() returns trigger
  language plpgsql
  as $$ begin insert into steward.tenant_directory (id) values (new.id) on conflict do nothing; return new; end $$;
create trigger tenants_directory after insert on steward.tenants
  for each row execute function steward.enter_directory();

create table steward.agents (
  tenant text not null references steward.tenants (id),
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  hash text not null check (hash ~ '^[0-9a-f]{64}$'),
  -- The parsed definition, and the text it was parsed from.
  definition jsonb not null,
  yaml text not null,
  -- Tool descriptors as their catalogs gave them when this version was applied.
  tools jsonb not null,
  is_current boolean not null,
  applied_at timestamptz not null default now(),
  applied_by text not null,
  primary key (tenant, name, hash)
);
create unique index agents_current on steward.agents (tenant, name) where is_current;

create table steward.agent_runs (
  tenant text not null references steward.tenants (id),
  id text not null unique check (id ~ '^[0-9a-zA-Z_-]{8,64}$'),
  request_id text not null,
  -- SHA-256 of the request body: a repeat with another one is refused.
  request_digest text not null,
  agent text not null,
  agent_hash text not null,
  acting_user text not null,
  started_by text not null,
  input text not null,
  labels jsonb not null default '{}',
  -- Tool names by catalog, after narrowing.
  tools jsonb not null,
  resources text[] not null default '{}',
  limits jsonb not null,
  waits jsonb not null,
  model text not null,
  max_output_tokens int not null,
  -- Signed by run-api; verified by everyone who acts on it.
  run_grant text not null,
  status text not null check (status in ('pending', 'queued', 'running', 'awaiting_approval', 'paused', 'completed',
    'failed', 'cancelled', 'budget_exceeded', 'terminated')),
  stop_reason text,
  stop_message text,
  waits_until timestamptz,
  paused_by text,
  cancel_requested_by text,
  cancel_reason text,
  -- Set once the workflow is known to have been started: only rows without it are started by the sweeper.
  workflow_started_at timestamptz,
  event_seq bigint not null default 0,
  step_seq int not null default 0,
  turns int not null default 0,
  model_calls int not null default 0,
  tool_calls int not null default 0,
  input_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  cache_read_tokens bigint not null default 0,
  cache_write_tokens bigint not null default 0,
  open_approvals int not null default 0,
  -- Milliseconds worked, as of the last stored answer.
  active_ms bigint not null default 0,
  outcome text,
  created_at timestamptz not null default now(),
  closed_at timestamptz,
  primary key (tenant, id)
);
create unique index agent_runs_request on steward.agent_runs (tenant, started_by, request_id);
create index agent_runs_newest on steward.agent_runs (tenant, created_at desc, id desc);
create index agent_runs_open on steward.agent_runs (tenant, created_at) where closed_at is null;

create table steward.agent_run_steps (
  tenant text not null,
  run_id text not null,
  number int not null,
  kind text not null check (kind in ('user_message', 'model_message', 'tool_result', 'note')),
  turn int not null,
  call_id text,
  -- Order of a tool result within its turn.
  ordinal int not null default 0,
  -- jsonb rewrites numbers and key order; thinking must go back byte for byte.
  content json not null,
  model text,
  cost_micro_usd bigint,
  created_at timestamptz not null default now(),
  primary key (run_id, number),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
-- The first stored message of a turn and the first stored result of a call win.
create unique index agent_run_steps_message on steward.agent_run_steps (run_id, turn) where kind = 'model_message';
create unique index agent_run_steps_result on steward.agent_run_steps (run_id, call_id) where kind = 'tool_result';

create table steward.agent_run_tool_invocations (
  tenant text not null,
  run_id text not null,
  call_id text not null,
  turn int not null,
  ordinal int not null,
  provider_id text not null,
  catalog text,
  tool text not null,
  tool_hash text,
  -- The arguments as proposed, as JSON text; null where they were no JSON object.
  args json,
  -- Canonical bytes of the action record, and their SHA-256; null where the call was denied before there was one.
  action_record bytea,
  digest text,
  key text,
  sig text not null,
  verdict text not null check (verdict in ('allow', 'deny', 'ask')),
  verdict_code text,
  verdict_reason text,
  why text[] not null default '{}',
  policy_set_hash text not null,
  resource_keys text[] not null default '{}',
  has_effect boolean not null default false,
  timeout_ms int,
  approval_id text,
  state text not null check (state in ('judged', 'started', 'done', 'refused', 'denied', 'failed', 'cancelled',
    'outcome_unknown')),
  attempts int not null default 0,
  -- The tool's result as the catalog gave it, whole.
  result json,
  change json,
  undoable boolean not null default false,
  error_code text,
  error_message text,
  judged_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz,
  primary key (run_id, call_id),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create unique index invocations_key on steward.agent_run_tool_invocations (key) where key is not null;
create index invocations_tool on steward.agent_run_tool_invocations (tenant, tool, run_id);
create index invocations_open on steward.agent_run_tool_invocations (run_id) where state in ('started', 'outcome_unknown');

-- One row per attempt of a model call: reserved before, settled after.
create table steward.agent_run_costs (
  tenant text not null,
  run_id text not null,
  -- Random, per attempt: a zombie settles its own.
  attempt_id text primary key,
  turn int not null,
  model text not null,
  state text not null check (state in ('reserved', 'settled', 'charged', 'released')),
  month_account text not null,
  reserved_micro_usd bigint not null check (reserved_micro_usd >= 0),
  settled_micro_usd bigint,
  -- The provider's raw fields.
  usage jsonb,
  answered_by text,
  provider_request_id text,
  created_at timestamptz not null default now(),
  -- After this an unsettled attempt is dead and charged at its reservation.
  deadline_at timestamptz not null,
  ended_at timestamptz,
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create index agent_run_costs_open on steward.agent_run_costs (tenant, deadline_at) where state = 'reserved';
create index agent_run_costs_run on steward.agent_run_costs (run_id, created_at);

create table steward.agent_run_events (
  tenant text not null,
  run_id text not null,
  sequence bigint not null,
  at timestamptz not null default now(),
  kind text not null,
  turn int not null default 0,
  call_id text,
  data jsonb not null default '{}',
  primary key (run_id, sequence),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);

-- Text of an answer while it is streamed; gone once the final text is stored.
create table steward.agent_run_text_deltas (
  tenant text not null,
  run_id text not null,
  turn int not null,
  attempt int not null,
  start int not null,
  text text not null,
  at timestamptz not null default now(),
  primary key (run_id, turn, attempt, start)
);

create table steward.approvals (
  tenant text not null,
  id text not null unique,
  run_id text not null,
  call_id text not null,
  agent text not null,
  acting_user text not null,
  catalog text not null,
  tool text not null,
  action_record bytea not null,
  digest text not null,
  preview json,
  preview_error text,
  tier int not null check (tier between 0 and 4),
  why text[] not null,
  policy_set_hash text not null,
  state text not null check (state in ('open', 'approved', 'denied', 'expired', 'void')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (tenant, id),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create unique index approvals_call on steward.approvals (run_id, call_id);
create index approvals_open on steward.approvals (tenant, created_at desc, id desc) where state = 'open';
create index approvals_newest on steward.approvals (tenant, created_at desc, id desc);

-- One answer per approval: the first row wins.
create table steward.approval_decisions (
  tenant text not null,
  id text not null unique,
  approval_id text not null unique,
  run_id text not null,
  call_id text not null,
  answer text not null check (answer in ('approve', 'deny')),
  digest text not null,
  decided_by text not null,
  roles text[] not null,
  reason text not null default '',
  request_id text not null,
  -- How it came: decide, signed.
  via text not null,
  decided_at timestamptz not null default now(),
  primary key (tenant, id),
  foreign key (tenant, approval_id) references steward.approvals (tenant, id)
);
create unique index approval_decisions_request on steward.approval_decisions (tenant, decided_by, request_id);

-- The budget tree: run/<id> and tenant-month/<yyyy-mm> today. spendable = limit - settled - reserved.
create table steward.ledger_accounts (
  tenant text not null references steward.tenants (id),
  id text not null,
  limit_micro_usd bigint not null check (limit_micro_usd >= 0),
  reserved_micro_usd bigint not null default 0 check (reserved_micro_usd >= 0),
  settled_micro_usd bigint not null default 0 check (settled_micro_usd >= 0),
  primary key (tenant, id)
);

create table steward.ledger_entries (
  tenant text not null,
  id bigint generated always as identity primary key,
  account text not null,
  kind text not null check (kind in ('raise', 'charge', 'overage')),
  -- What cannot be read off agent_run_costs. raise: added to the limit; charge: a dead attempt settled at its
  -- reservation; overage: billed above a reservation.
  amount_micro_usd bigint not null,
  run_id text,
  attempt_id text,
  -- Raises only: made once per id.
  raise_id text,
  by_subject text,
  reason text,
  at timestamptz not null default now(),
  foreign key (tenant, account) references steward.ledger_accounts (tenant, id)
);
create unique index ledger_entries_raise on steward.ledger_entries (tenant, account, raise_id) where raise_id is not null;
create index ledger_entries_account on steward.ledger_entries (tenant, account, id);

-- What is owed to Temporal: delivered right after its commit, and by the sweeper where that failed.
create table steward.outbox (
  tenant text not null references steward.tenants (id),
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('start', 'decide_approval', 'raise_budget', 'pause', 'resume', 'cancel')),
  run_id text not null,
  payload jsonb not null default '{}',
  created_at timestamptz not null default now(),
  delivered_at timestamptz,
  attempts int not null default 0,
  last_error text
);
create index outbox_due on steward.outbox (tenant, id) where delivered_at is null;

-- Insert-only: no role may update or delete.
create table steward.audit_log (
  tenant text not null,
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  actor text not null,
  action text not null,
  run_id text,
  call_id text,
  digest text,
  data jsonb not null default '{}'
);
create index audit_log_tenant on steward.audit_log (tenant, id);

do $$
declare
  t text;
begin
  foreach t in array array['agents', 'agent_runs', 'agent_run_steps', 'agent_run_tool_invocations', 'agent_run_costs',
    'agent_run_events', 'agent_run_text_deltas', 'approvals', 'approval_decisions', 'ledger_accounts', 'ledger_entries',
    'outbox', 'audit_log']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
    execute format('create policy own_tenant on steward.%I using (tenant = steward.current_tenant()) '
      'with check (tenant = steward.current_tenant())', t);
  end loop;
end
$$;
alter table steward.tenants enable row level security;
alter table steward.tenants force row level security;
create policy own_tenant on steward.tenants using (id = steward.current_tenant())
  with check (id = steward.current_tenant());

grant select on steward.tenant_directory to steward_run_api, steward_guard, steward_worker;
grant select on all tables in schema steward to steward_run_api, steward_guard, steward_worker;

grant update on steward.tenants to steward_run_api;
grant insert, update on steward.agents to steward_run_api;
grant insert on steward.agent_runs to steward_run_api;
-- The first user message and the run's beginning are run-api's; everything after is the worker's and the guard's.
grant update on steward.agent_runs to steward_run_api, steward_guard, steward_worker;
grant insert on steward.agent_run_steps, steward.agent_run_events, steward.audit_log
  to steward_run_api, steward_guard, steward_worker;
grant insert, update on steward.ledger_accounts to steward_run_api, steward_worker;
grant insert on steward.ledger_entries to steward_run_api, steward_worker;
grant insert, update on steward.outbox to steward_run_api, steward_guard, steward_worker;

grant insert, update on steward.agent_run_tool_invocations to steward_guard;
grant update on steward.agent_run_tool_invocations to steward_worker;
grant insert, update on steward.approvals to steward_guard;
grant insert on steward.approval_decisions to steward_guard;
-- Closing a run voids its open approvals; what was decided stands in approval_decisions alone.
grant update (state) on steward.approvals to steward_worker;

grant insert, update on steward.agent_run_costs to steward_worker;
grant insert, delete on steward.agent_run_text_deltas to steward_worker;
