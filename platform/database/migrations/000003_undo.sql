-- Undoing what a run has done: who asked for it, and what came of each effect.

-- One request. Its steps stand in agent_run_undo_steps.
create table steward.agent_run_undos (
  tenant text not null,
  id text not null unique check (id ~ '^[0-9a-zA-Z_-]{8,64}$'),
  run_id text not null,
  request_id text not null,
  -- As asked for; empty: all effects of the run.
  call_ids text[] not null,
  reason text not null,
  requested_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant, id),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create unique index agent_run_undos_request on steward.agent_run_undos (tenant, requested_by, request_id);

create table steward.agent_run_undo_steps (
  tenant text not null,
  undo_id text not null,
  run_id text not null,
  call_id text not null,
  -- What was done last has 0 and is undone first.
  ordinal int not null,
  tool text not null,
  state text not null check (state in ('pending', 'undone', 'refused', 'cannot', 'unknown')),
  -- How often the guard has granted it; the digest of the undo's action record, and when it was last granted.
  attempts int not null default 0,
  digest text,
  authorized_at timestamptz,
  -- What undoing it has changed.
  change json,
  error_code text,
  error_message text,
  ended_at timestamptz,
  primary key (undo_id, call_id),
  foreign key (tenant, undo_id) references steward.agent_run_undos (tenant, id),
  foreign key (run_id, call_id) references steward.agent_run_tool_invocations (run_id, call_id)
);
create index agent_run_undo_steps_call on steward.agent_run_undo_steps (run_id, call_id);

do $$
declare
  t text;
begin
  foreach t in array array['agent_run_undos', 'agent_run_undo_steps']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
    execute format('create policy own_tenant on steward.%I using (tenant = steward.current_tenant()) '
      'with check (tenant = steward.current_tenant())', t);
  end loop;
end
$$;

grant select on steward.agent_run_undos, steward.agent_run_undo_steps
  to steward_run_api, steward_guard, steward_worker;
-- Only run-api says what is to be undone; only the guard says that it may be tried; only the worker says what came of it.
grant insert on steward.agent_run_undos, steward.agent_run_undo_steps to steward_run_api;
grant update (attempts, digest, authorized_at) on steward.agent_run_undo_steps to steward_guard;
grant update (state, change, error_code, error_message, ended_at) on steward.agent_run_undo_steps to steward_worker;

-- An undo is started in Temporal like a run.
alter table steward.outbox drop constraint outbox_kind_check;
alter table steward.outbox add constraint outbox_kind_check
  check (kind in ('start', 'decide_approval', 'raise_budget', 'pause', 'resume', 'cancel', 'undo'));
