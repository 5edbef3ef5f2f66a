-- Stop orders. A row holds from its commit until it is lifted. Those of scope `product` belong to the platform tenant,
-- hold for every tenant and are therefore read by all; whose they are, only the platform tenant writes.
create table steward.kill_switches (
  tenant text not null,
  id text not null primary key check (id ~ '^[0-9a-zA-Z_-]{8,64}$'),
  scope text not null check (scope in ('product', 'tenant', 'agent', 'tool', 'user', 'run')),
  -- Agent, tool, user or run; empty for product and tenant, where the row's tenant says it.
  target text not null default '' check ((target = '') = (scope in ('product', 'tenant')) and length(target) <= 200),
  mode text not null check (mode in ('kill', 'safe_mode')),
  -- What becomes of running runs; none for safe mode, and for a tool.
  action text not null check (action in ('cancel', 'pause', 'none')),
  reason text not null check (length(reason) between 1 and 500),
  drill boolean not null default false,
  set_by text not null,
  set_at timestamptz not null default clock_timestamp(),
  lifted_by text,
  lift_reason text,
  lifted_at timestamptz,
  -- When every run of the scope had been told; null while that is still to be done.
  told_at timestamptz,
  -- What was stopped, as counted while it was told.
  cancelled int not null default 0,
  paused int not null default 0,
  voided int not null default 0,
  check ((lifted_at is null) = (lifted_by is null))
);
create index kill_switches_standing on steward.kill_switches (tenant, scope) where lifted_at is null;
create index kill_switches_newest on steward.kill_switches (tenant, set_at desc, id desc);

alter table steward.kill_switches enable row level security;
alter table steward.kill_switches force row level security;
create policy own_tenant on steward.kill_switches
  using (tenant = steward.current_tenant() or scope = 'product')
  with check (tenant = steward.current_tenant());
-- A product switch is read by every tenant and changed by its own alone.
create policy own_only on steward.kill_switches as restrictive for update
  using (tenant = steward.current_tenant());

grant select on steward.kill_switches to steward_run_api, steward_guard, steward_worker;
grant insert on steward.kill_switches to steward_guard;
grant update (lifted_by, lift_reason, lifted_at, told_at, cancelled, paused, voided)
  on steward.kill_switches to steward_guard;

-- The guard tells the runs of a scope to stop, as run-api does for one.
grant update (cancel_requested_by, cancel_reason, paused_by, stop_reason, stop_message, outcome, closed_at)
  on steward.agent_runs to steward_guard;

-- What of some work is to stop now: of its runs and calls those in the scope of a switch, and those of runs that are
-- being cancelled. Reads tenant by tenant, as whoever asks. `call` is empty for work that is no call.
create function steward.stopped_work(tenants text[], runs text[], calls text[])
  returns table (run text, call text, what text)
  language plpgsql
  as $$
declare
  t text;
begin
  foreach t in array (select coalesce(array_agg(distinct u), '{}') from unnest(tenants) u) loop
    perform set_config('app.tenant', t, true);
    return query
      select w.run, w.call, case
          when r.cancel_requested_by is not null then 'cancel'
          else (select case when s.mode = 'safe_mode' or s.scope = 'tool' then 'refuse' else s.action end
            from steward.kill_switches s
            left join steward.agent_run_tool_invocations i on i.run_id = w.run and i.call_id = w.call
            where s.lifted_at is null
              and (s.scope = 'product' or s.scope = 'tenant' or (s.scope = 'agent' and s.target = r.agent)
                or (s.scope = 'user' and s.target = r.acting_user) or (s.scope = 'run' and s.target = r.id)
                or (s.scope = 'tool' and s.target = i.tool))
              and (s.mode = 'kill' or i.has_effect)
            order by array_position(array['cancel', 'pause', 'none'], s.action), s.set_at limit 1)
        end
      from unnest(tenants, runs, calls) as w (tenant, run, call)
      join steward.agent_runs r on r.id = w.run
      where w.tenant = t;
  end loop;
end
$$;
