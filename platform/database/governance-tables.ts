import type { Generated } from 'kysely';
import type { SwitchAction, SwitchMode, SwitchScope } from '#domain/kill-switch.ts';
import type { LimitScope } from '#domain/quantities.ts';
import type { At, AtOrNull, Json, OrNull } from './columns.ts';

/** Tables of limits and of what people look into; the migrations are the truth and say what each is for. */
export interface InvestigationsTable {
  tenant: string;
  run_id: string;
  reasons: ('anomaly' | 'aborted' | 'capped' | 'sample')[];
  evidence: Json<Record<string, unknown>[]>;
  state: Generated<'open' | 'closed'>;
  assignee: OrNull<string>;
  opened_at: At;
  closed_at: AtOrNull;
  closed_by: OrNull<string>;
  finding: OrNull<string>;
  notes: Generated<number>;
}

export interface InvestigationNotesTable {
  tenant: string;
  run_id: string;
  number: number;
  by_subject: string;
  text: string;
  at: At;
}

export interface KillSwitchesTable {
  tenant: string;
  id: string;
  scope: SwitchScope;
  target: string;
  mode: SwitchMode;
  action: SwitchAction;
  reason: string;
  drill: Generated<boolean>;
  set_by: string;
  set_at: At;
  lifted_by: OrNull<string>;
  lift_reason: OrNull<string>;
  lifted_at: AtOrNull;
  told_at: AtOrNull;
  cancelled: Generated<number>;
  paused: Generated<number>;
  voided: Generated<number>;
}

export interface QuantityLimitsTable {
  tenant: string;
  quantity: string;
  scope: LimitScope;
  amount: number | null;
  outcome: 'deny' | 'ask';
  tier: number;
  set_by: string;
  set_at: At;
}

export interface QuantityWindowsTable {
  tenant: string;
  run_id: string;
  call_id: string;
  quantity: string;
  amount: number;
  overage: Generated<number>;
  state: 'held' | 'spent' | 'released';
  acting_user: string;
  agent: string;
  reserved_at: Date;
}
