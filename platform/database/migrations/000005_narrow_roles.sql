-- Each role may change the columns its process changes, and no others. A stolen worker connection can then neither
-- raise a budget, nor turn a verdict, nor put other arguments under an approved call, nor take back a stop.

revoke update on steward.agent_runs from steward_run_api, steward_guard, steward_worker;
grant update (status, stop_reason, stop_message, waits_until, paused_by, cancel_requested_by, cancel_reason,
  workflow_started_at, event_seq, step_seq, outcome, closed_at, admitted_at) on steward.agent_runs to steward_run_api;
grant update (status, waits_until, workflow_started_at, event_seq, step_seq, tool_calls, open_approvals)
  on steward.agent_runs to steward_guard;
grant update (status, stop_reason, stop_message, waits_until, workflow_started_at, event_seq, step_seq, turns,
  model_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, open_approvals, active_ms, outcome,
  closed_at, admitted_at) on steward.agent_runs to steward_worker;

-- What was judged stays as it was judged: the guard says that a call may begin, the worker what came of it.
revoke update on steward.agent_run_tool_invocations from steward_guard, steward_worker;
grant update (state, attempts, started_at, error_code, error_message, ended_at)
  on steward.agent_run_tool_invocations to steward_guard;
grant update (state, result, change, undoable, error_code, error_message, ended_at)
  on steward.agent_run_tool_invocations to steward_worker;

revoke update on steward.approvals from steward_guard;
grant update (state) on steward.approvals to steward_guard;

-- A version of an agent never changes; only which one is current does.
revoke update on steward.agents from steward_run_api;
grant update (is_current) on steward.agents to steward_run_api;

revoke update on steward.outbox from steward_run_api, steward_guard, steward_worker;
grant update (delivered_at, held_until, attempts, last_error)
  on steward.outbox to steward_run_api, steward_guard, steward_worker;

-- Limits are run-api's to set, what is spent the worker's.
revoke update on steward.ledger_accounts from steward_run_api, steward_worker;
grant update (limit_micro_usd) on steward.ledger_accounts to steward_run_api;
grant update (reserved_micro_usd, settled_micro_usd) on steward.ledger_accounts to steward_worker;
-- The worker opens a new month, at the tenant's own limit, and no other account.
create policy month_as_set on steward.ledger_accounts as restrictive for insert to steward_worker
  with check (id ~ '^tenant-month/\d{4}-\d\d$' and reserved_micro_usd = 0 and settled_micro_usd = 0 and
    limit_micro_usd = (select t.month_budget_micro_usd from steward.tenants t where t.id = ledger_accounts.tenant));
create policy spending_only on steward.ledger_entries as restrictive for insert to steward_worker
  with check (kind in ('charge', 'overage'));
create policy raises_only on steward.ledger_entries as restrictive for insert to steward_run_api
  with check (kind = 'raise');

revoke update on steward.agent_run_costs from steward_worker;
grant update (state, settled_micro_usd, usage, answered_by, provider_request_id, ended_at)
  on steward.agent_run_costs to steward_worker;
