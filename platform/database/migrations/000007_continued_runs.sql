-- Conversations that go on over several runs, and conversations longer than a model's window.
--
-- A place in a conversation is the number of a step, counted on through all its runs: a run's own steps come after those
-- of the runs it continues.
alter table steward.agent_runs
  -- The runs whose conversation this one goes on with, oldest first, and how many of each one's steps are part of it.
  -- Their rows are read by reference and never change.
  add column earlier_runs text[] not null default '{}',
  add column earlier_steps int[] not null default '{}',
  add constraint agent_runs_earlier
    check (cardinality(earlier_runs) = cardinality(earlier_steps) and cardinality(earlier_runs) < 50),
  -- Tokens of prompt and answer together that one model call may have.
  add column context_tokens int not null default 200000 check (context_tokens > 0),
  -- Thinking up to this place was written behind other words than those that stand before it now, and is not sent back.
  add column prefix_from int not null default 0,
  -- Long tool results up to this place are named and left out.
  add column handles_through int not null default 0,
  -- What stands up to this place is left out; the newest step of kind `summary` stands for it.
  add column summarised_through int not null default 0,
  -- The turn in which that was last moved.
  add column summarised_turn int not null default 0;
grant update (prefix_from, handles_through, summarised_through, summarised_turn) on steward.agent_runs to steward_worker;

alter table steward.agent_run_steps drop constraint agent_run_steps_kind_check;
alter table steward.agent_run_steps add constraint agent_run_steps_kind_check
  check (kind in ('user_message', 'model_message', 'tool_result', 'note', 'summary'));
-- A turn shortens its conversation once.
create unique index agent_run_steps_summary on steward.agent_run_steps (run_id, turn) where kind = 'summary';

-- What a model was called for: to answer, or to sum up what stood before.
alter table steward.agent_run_costs add column purpose text not null default 'turn'
  check (purpose in ('turn', 'summary'));
