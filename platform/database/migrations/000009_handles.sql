-- Thinking behind the first result that is left out, up to this place, was written behind that result whole.
alter table steward.agent_runs add column handles_at int not null default 0;
grant update (handles_at) on steward.agent_runs to steward_worker;
