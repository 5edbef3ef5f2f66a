-- Why an attempt at a model call gave no answer: the choice between an agent's two models goes by it.

alter table steward.agent_run_costs add column failure text check (length(failure) between 1 and 64);
grant update (failure) on steward.agent_run_costs to steward_worker;
