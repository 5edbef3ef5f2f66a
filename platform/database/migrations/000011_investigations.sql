-- What is unusual about a run, and the runs that people are to look at.

alter table steward.agent_runs
  -- From where on the run is paused, as its agent had it when the run began; {}: the defaults.
  add column anomaly_limits jsonb not null default '{}',
  -- What the guard counts from turn to turn: destructive, unauthorised, recent, fired.
  add column watched jsonb not null default '{}';
grant update (watched, paused_by) on steward.agent_runs to steward_guard;
-- For the medians of an agent's last runs.
create index agent_runs_of_agent on steward.agent_runs (tenant, agent, closed_at desc) where status = 'completed';

-- Of a thousand runs that ended well so many are looked at all the same.
alter table steward.tenants add column sampled_per_mille int not null default 10
  check (sampled_per_mille between 0 and 1000);

-- At most one per run: a further reason is added to it, and opens it again.
create table steward.investigations (
  tenant text not null,
  run_id text not null,
  -- anomaly, aborted, capped, sample
  reasons text[] not null check (cardinality(reasons) between 1 and 4),
  -- What shows it, as a list.
  evidence jsonb not null default '[]',
  state text not null default 'open' check (state in ('open', 'closed')),
  assignee text,
  opened_at timestamptz not null default now(),
  closed_at timestamptz,
  closed_by text,
  finding text check (length(finding) <= 4000),
  notes int not null default 0,
  primary key (run_id),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create index investigations_newest on steward.investigations (tenant, opened_at desc, run_id desc);

create table steward.investigation_notes (
  tenant text not null,
  run_id text not null,
  number int not null check (number between 1 and 1000),
  by_subject text not null,
  text text not null check (length(text) between 1 and 4000),
  at timestamptz not null default now(),
  primary key (run_id, number),
  foreign key (run_id) references steward.investigations (run_id)
);

do $$
declare
  t text;
begin
  foreach t in array array['investigations', 'investigation_notes']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
    execute format('create policy own_tenant on steward.%I using (tenant = steward.current_tenant()) '
      'with check (tenant = steward.current_tenant())', t);
  end loop;
end
$$;

-- The guard and the worker open them; people work on them through run-api.
grant select, insert on steward.investigations to steward_guard, steward_worker, steward_run_api;
grant update (reasons, evidence, state, closed_at, closed_by, finding) on steward.investigations
  to steward_guard, steward_worker;
grant update (state, assignee, closed_at, closed_by, finding, notes) on steward.investigations to steward_run_api;
grant select, insert on steward.investigation_notes to steward_run_api;
