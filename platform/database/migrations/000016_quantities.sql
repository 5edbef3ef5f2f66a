-- What calls spend (refunds, e-mails, deleted rows), and the limits on it over windows that slide.

-- What the call spends by name, as judged; null: nothing that is counted.
alter table steward.agent_run_tool_invocations add column spends jsonb;

-- A tenant's own limits; the defaults of domain/quantities.ts hold where it has none of a quantity and scope.
create table steward.quantity_limits (
  tenant text not null references steward.tenants (id),
  quantity text not null check (quantity ~ '^[a-z][a-z0-9_]{0,30}(\.[a-z][a-z0-9_]{0,30})?$'),
  scope text not null check (scope in ('action', 'turn', 'run', 'user-hour', 'user-day', 'agent-day', 'tenant-hour',
    'tenant-day')),
  -- At most so much; null: no limit.
  amount bigint check (amount between 0 and 9007199254740991),
  outcome text not null check (outcome in ('deny', 'ask')),
  tier int not null check (tier between 0 and 4),
  set_by text not null,
  set_at timestamptz not null default now(),
  primary key (tenant, quantity, scope)
);

-- One row per call and quantity, from the moment the call may begin. held: it may take place; spent: it did; released:
-- it certainly did not, and never will.
create table steward.quantity_windows (
  tenant text not null,
  run_id text not null,
  call_id text not null,
  quantity text not null,
  amount bigint not null check (amount > 0),
  -- What the catalog says was spent beyond what was reserved.
  overage bigint not null default 0 check (overage >= 0),
  state text not null check (state in ('held', 'spent', 'released')),
  acting_user text not null,
  agent text not null,
  reserved_at timestamptz not null,
  primary key (run_id, call_id, quantity),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create index quantity_windows_slide on steward.quantity_windows (tenant, quantity, reserved_at);

do $$
declare
  t text;
begin
  foreach t in array array['quantity_limits', 'quantity_windows']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
    execute format('create policy own_tenant on steward.%I using (tenant = steward.current_tenant()) '
      'with check (tenant = steward.current_tenant())', t);
  end loop;
end
$$;

-- The guard sets limits and reserves; the worker says what came of the call.
grant select, insert, delete on steward.quantity_limits to steward_guard;
grant update (amount, outcome, tier, set_by, set_at) on steward.quantity_limits to steward_guard;
grant select, insert on steward.quantity_windows to steward_guard;
grant select on steward.quantity_windows to steward_worker, steward_run_api;
grant update (state, overage) on steward.quantity_windows to steward_worker;
