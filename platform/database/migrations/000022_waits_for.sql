-- What the next model call of a run that stands still for want of budget costs at least: so much of the level that was short
-- must be free before it is worth telling it to look again.
alter table steward.agent_runs add column waits_for_micro_usd bigint;
grant update (waits_for_micro_usd) on steward.agent_runs to steward_worker;
