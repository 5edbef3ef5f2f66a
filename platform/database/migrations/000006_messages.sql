-- What is said to a run while it runs. The run's row counts what was sent and up to which message its model has read:
-- sending, reading and closing all lock that row, so no message is taken and then forgotten.
alter table steward.agent_runs add column messages_sent int not null default 0,
  add column messages_read int not null default 0;

create table steward.agent_run_messages (
  tenant text not null,
  run_id text not null,
  -- 1, 2, 3 … in the order in which they were taken.
  number int not null,
  sent_by text not null,
  request_id text not null,
  text text not null check (length(text) <= 20000),
  sent_at timestamptz not null default now(),
  primary key (run_id, number),
  foreign key (tenant, run_id) references steward.agent_runs (tenant, id)
);
create unique index agent_run_messages_request on steward.agent_run_messages (run_id, sent_by, request_id);

alter table steward.agent_run_messages enable row level security;
alter table steward.agent_run_messages force row level security;
create policy own_tenant on steward.agent_run_messages using (tenant = steward.current_tenant())
  with check (tenant = steward.current_tenant());

-- Only run-api says what was said; only the worker says what was read.
grant select on steward.agent_run_messages to steward_run_api, steward_guard, steward_worker;
grant insert on steward.agent_run_messages to steward_run_api;
grant update (messages_sent) on steward.agent_runs to steward_run_api;
grant update (messages_read) on steward.agent_runs to steward_worker;
