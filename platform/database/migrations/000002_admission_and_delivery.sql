-- When a run got its slot: the daily cap counts these. Null while it is queued.
alter table steward.agent_runs add column admitted_at timestamptz;
create index agent_runs_admitted on steward.agent_runs (tenant, admitted_at) where admitted_at is not null;
create index agent_runs_queued on steward.agent_runs (tenant, created_at, id) where status = 'queued';

-- Until then the row is one deliverer's, or waits before it is tried again.
alter table steward.outbox add column held_until timestamptz;
-- Rows of one run are delivered in order.
create index outbox_due_of_run on steward.outbox (tenant, run_id, id) where delivered_at is null;
