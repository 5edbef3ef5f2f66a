-- What is read of one turn is found by its turn: by run alone, a turn reads more the longer its run has become.
create index invocations_turn on steward.agent_run_tool_invocations (run_id, turn);
create index agent_run_costs_turn on steward.agent_run_costs (run_id, turn);
drop index steward.agent_run_costs_run;
