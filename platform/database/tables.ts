import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { AnomalyLimits, Watched } from '#domain/anomaly.ts';
import type { Usage } from '#domain/conversation.ts';
import type { ChargePolicy, RunLimits, RunStatus, StopReason, Waits } from '#domain/run.ts';
import type { Change, ToolDescriptor } from '#domain/tools.ts';
import type { UndoState } from '#domain/undo.ts';
import type { AuditTables } from './audit-tables.ts';
import type { BudgetTables } from './budget-tables.ts';
import type { At, AtOrNull, Json, JsonOrNull, OrNull } from './columns.ts';
import type {
  InvestigationNotesTable,
  InvestigationsTable,
  KillSwitchesTable,
  QuantityLimitsTable,
  QuantityWindowsTable,
} from './governance-tables.ts';

/**
 * The platform's tables as kysely sees them; platform/database/migrations is the truth and says what each is for.
 * bigint columns come back as numbers: `connect` parses them and refuses what a double cannot hold.
 */
export interface Database extends BudgetTables, AuditTables {
  tenant_directory: { id: string };
  tenants: TenantsTable;
  agents: AgentsTable;
  agent_runs: RunsTable;
  agent_run_steps: StepsTable;
  agent_run_tool_invocations: InvocationsTable;
  agent_run_costs: CostsTable;
  agent_run_events: EventsTable;
  agent_run_text_deltas: TextDeltasTable;
  agent_run_messages: MessagesTable;
  approvals: ApprovalsTable;
  approval_decisions: DecisionsTable;
  agent_run_undos: UndosTable;
  agent_run_undo_steps: UndoStepsTable;
  run_traces: TracesTable;
  outbox: OutboxTable;
  quantity_limits: QuantityLimitsTable;
  quantity_windows: QuantityWindowsTable;
  investigations: InvestigationsTable;
  investigation_notes: InvestigationNotesTable;
  kill_switches: KillSwitchesTable;
}

export interface TenantsTable {
  id: string;
  tier: Generated<'free' | 'pro' | 'enterprise'>;
  /** Null: the tier's; so with the next ones. */
  month_budget_micro_usd: OrNull<number>;
  max_concurrent_runs: OrNull<number>;
  max_runs_per_day: OrNull<number>;
  user_month_micro_usd: OrNull<number>;
  charge_policy: Generated<ChargePolicy>;
  users_may_confirm: Generated<boolean>;
  allowed_email_domains: Generated<string[]>;
  sampled_per_mille: Generated<number>;
  created_at: At;
}

export interface AgentsTable {
  tenant: string;
  name: string;
  hash: string;
  definition: Json<Record<string, unknown>>;
  yaml: string;
  tools: Json<ToolDescriptor[]>;
  is_current: boolean;
  applied_at: At;
  applied_by: string;
}

export interface RunsTable {
  tenant: string;
  id: string;
  request_id: string;
  request_digest: string;
  agent: string;
  agent_hash: string;
  acting_user: string;
  started_by: string;
  input: string;
  labels: JSONColumnType<Record<string, string>>;
  tools: JSONColumnType<Record<string, string[]>>;
  resources: string[];
  limits: JSONColumnType<RunLimits>;
  waits: JSONColumnType<Waits>;
  anomaly_limits: ColumnType<Partial<AnomalyLimits>, string | undefined, never>;
  watched: ColumnType<Partial<Watched>, string | undefined, string>;
  model: string;
  max_output_tokens: number;
  run_grant: string;
  status: RunStatus;
  stop_reason: OrNull<StopReason>;
  stop_message: OrNull<string>;
  waits_until: AtOrNull;
  paused_by: OrNull<string>;
  cancel_requested_by: OrNull<string>;
  cancel_reason: OrNull<string>;
  workflow_started_at: AtOrNull;
  admitted_at: AtOrNull;
  event_seq: Generated<number>;
  step_seq: Generated<number>;
  turns: Generated<number>;
  model_calls: Generated<number>;
  tool_calls: Generated<number>;
  input_tokens: Generated<number>;
  output_tokens: Generated<number>;
  cache_read_tokens: Generated<number>;
  cache_write_tokens: Generated<number>;
  open_approvals: Generated<number>;
  active_ms: Generated<number>;
  outcome: OrNull<string>;
  messages_sent: Generated<number>;
  messages_read: Generated<number>;
  earlier_runs: Generated<string[]>;
  earlier_steps: Generated<number[]>;
  context_tokens: Generated<number>;
  prefix_from: Generated<number>;
  handles_through: Generated<number>;
  handles_at: Generated<number>;
  summarised_through: Generated<number>;
  summarised_turn: Generated<number>;
  created_at: At;
  closed_at: AtOrNull;
  trace_parent: OrNull<string>;
  typical_micro_usd: OrNull<number>;
  refunded_micro_usd: Generated<number>;
  waits_for_micro_usd: OrNull<number>;
}

export interface StepsTable {
  tenant: string;
  run_id: string;
  number: number;
  kind: 'user_message' | 'model_message' | 'tool_result' | 'note' | 'summary';
  turn: number;
  call_id: OrNull<string>;
  ordinal: Generated<number>;
  content: Json<unknown>;
  model: OrNull<string>;
  cost_micro_usd: OrNull<number>;
  created_at: At;
}

export type InvocationState =
  | 'judged'
  | 'started'
  | 'done'
  | 'refused'
  | 'denied'
  | 'failed'
  | 'cancelled'
  | 'outcome_unknown';

export interface InvocationsTable {
  tenant: string;
  run_id: string;
  call_id: string;
  turn: number;
  ordinal: number;
  provider_id: string;
  catalog: OrNull<string>;
  tool: string;
  tool_hash: OrNull<string>;
  args: JsonOrNull<Record<string, unknown>>;
  action_record: OrNull<Buffer>;
  digest: OrNull<string>;
  key: OrNull<string>;
  sig: string;
  verdict: 'allow' | 'deny' | 'ask';
  verdict_code: OrNull<string>;
  verdict_reason: OrNull<string>;
  why: Generated<string[]>;
  policy_set_hash: string;
  resource_keys: Generated<string[]>;
  has_effect: Generated<boolean>;
  timeout_ms: OrNull<number>;
  approval_id: OrNull<string>;
  state: InvocationState;
  attempts: Generated<number>;
  result: JsonOrNull<unknown>;
  change: JsonOrNull<Change>;
  undoable: Generated<boolean>;
  spends: JsonOrNull<Record<string, number>>;
  error_code: OrNull<string>;
  error_message: OrNull<string>;
  judged_at: At;
  started_at: AtOrNull;
  ended_at: AtOrNull;
}

export interface CostsTable {
  tenant: string;
  run_id: string;
  attempt_id: string;
  turn: number;
  model: string;
  purpose: Generated<'turn' | 'summary'>;
  state: 'reserved' | 'settled' | 'charged' | 'released';
  month_account: string;
  user_account: OrNull<string>;
  reserved_micro_usd: number;
  settled_micro_usd: OrNull<number>;
  usage: JsonOrNull<Usage>;
  answered_by: OrNull<string>;
  provider_request_id: OrNull<string>;
  failure: OrNull<string>;
  created_at: At;
  deadline_at: Date;
  ended_at: AtOrNull;
}

export interface EventsTable {
  tenant: string;
  run_id: string;
  sequence: number;
  at: At;
  kind: string;
  turn: Generated<number>;
  call_id: OrNull<string>;
  data: Json<Record<string, unknown>>;
}

export interface TextDeltasTable {
  tenant: string;
  run_id: string;
  turn: number;
  attempt: number;
  start: number;
  text: string;
  at: At;
}

export interface MessagesTable {
  tenant: string;
  run_id: string;
  number: number;
  sent_by: string;
  request_id: string;
  text: string;
  sent_at: At;
}

export interface ApprovalsTable {
  tenant: string;
  id: string;
  run_id: string;
  call_id: string;
  agent: string;
  acting_user: string;
  catalog: string;
  tool: string;
  action_record: Buffer;
  digest: string;
  preview: JsonOrNull<Change>;
  preview_error: OrNull<string>;
  tier: number;
  why: string[];
  policy_set_hash: string;
  state: 'open' | 'approved' | 'denied' | 'expired' | 'void';
  created_at: At;
  expires_at: Date;
}

export interface DecisionsTable {
  tenant: string;
  id: string;
  approval_id: string;
  run_id: string;
  call_id: string;
  answer: 'approve' | 'deny';
  digest: string;
  decided_by: string;
  roles: string[];
  reason: Generated<string>;
  request_id: string;
  via: 'decide' | 'signed';
  decided_at: At;
}

export interface UndosTable {
  tenant: string;
  id: string;
  run_id: string;
  request_id: string;
  call_ids: string[];
  reason: string;
  requested_by: string;
  created_at: At;
}

export interface UndoStepsTable {
  tenant: string;
  undo_id: string;
  run_id: string;
  call_id: string;
  ordinal: number;
  tool: string;
  state: UndoState;
  attempts: Generated<number>;
  digest: OrNull<string>;
  authorized_at: AtOrNull;
  change: JsonOrNull<Change>;
  error_code: OrNull<string>;
  error_message: OrNull<string>;
  ended_at: AtOrNull;
}

export type OutboxKind = 'start' | 'decide_approval' | 'raise_budget' | 'pause' | 'resume' | 'cancel' | 'undo';

export interface OutboxTable {
  tenant: string;
  id: Generated<number>;
  kind: OutboxKind;
  run_id: string;
  payload: Json<Record<string, unknown>>;
  created_at: At;
  delivered_at: AtOrNull;
  attempts: Generated<number>;
  last_error: OrNull<string>;
  held_until: AtOrNull;
}

export interface TracesTable {
  tenant: string;
  run_id: string;
  through_turn: Generated<number>;
  finished: Generated<boolean>;
  held_until: AtOrNull;
}
