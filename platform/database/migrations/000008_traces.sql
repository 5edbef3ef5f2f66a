-- Traces: whose trace a run belongs to, and how far the worker has handed its spans over.

-- The W3C traceparent that StartRun's caller sent; null: the run has a trace of its own, made from its id.
alter table steward.agent_runs add column trace_parent text
  check (trace_parent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');

-- Written only where an exporter is configured: a run's spans are made from what is recorded, turn by turn.
create table steward.run_traces (
  tenant text not null,
  run_id text not null,
  -- Spans of turns up to this one have been taken over by the collector; `finished`: all of them, and the run's own.
  through_turn int not null default 0,
  finished boolean not null default false,
  -- A worker is at it until then.
  held_until timestamptz,
  primary key (tenant, run_id),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create index run_traces_unfinished on steward.run_traces (tenant, run_id) where not finished;

alter table steward.run_traces enable row level security;
alter table steward.run_traces force row level security;
create policy own_tenant on steward.run_traces using (tenant = steward.current_tenant())
  with check (tenant = steward.current_tenant());

grant select, insert on steward.run_traces to steward_worker;
grant update (through_turn, finished, held_until) on steward.run_traces to steward_worker;
