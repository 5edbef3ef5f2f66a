import type { Generated } from 'kysely';
import type { ChargePolicy } from '#domain/run.ts';
import type { At, AtOrNull, Json, OrNull } from './columns.ts';

/** The tables of the budget tree. */
export interface BudgetTables {
  ledger_accounts: AccountsTable;
  ledger_entries: EntriesTable;
  tenant_settings: SettingsView;
  tiers: TiersTable;
  user_limits: UserLimitsTable;
  tenant_baselines: BaselinesTable;
  budget_alarms: AlarmsTable;
  product_settings: ProductSettingsTable;
  product_months: ProductMonthsTable;
  product_accounts: ProductAccountsTable;
  product_entries: ProductEntriesTable;
  product_samples: ProductSamplesTable;
  product_alarms: ProductAlarmsTable;
}

export interface AccountsTable {
  tenant: string;
  id: string;
  /** Null, for users only: none. */
  limit_micro_usd: OrNull<number>;
  reserved_micro_usd: Generated<number>;
  settled_micro_usd: Generated<number>;
  rate_minute: AtOrNull;
  rate_calls: Generated<number>;
}

export interface EntriesTable {
  tenant: string;
  id: Generated<number>;
  account: string;
  kind: 'raise' | 'charge' | 'overage' | 'refund';
  amount_micro_usd: number;
  run_id: OrNull<string>;
  attempt_id: OrNull<string>;
  raise_id: OrNull<string>;
  by_subject: OrNull<string>;
  reason: OrNull<string>;
  at: At;
}

/** A view: what counts for a tenant, its own or its tier's. */
export interface SettingsView {
  id: string;
  tier: 'free' | 'pro' | 'enterprise';
  charge_policy: ChargePolicy;
  month_budget_micro_usd: number;
  max_concurrent_runs: number;
  max_runs_per_day: number;
  user_month_micro_usd: number | null;
}

export interface TiersTable {
  name: 'free' | 'pro' | 'enterprise';
  month_budget_micro_usd: number | null;
  max_concurrent_runs: number | null;
  max_runs_per_day: number | null;
  user_month_micro_usd: number | null;
  audit_days: Generated<number>;
}

export interface UserLimitsTable {
  tenant: string;
  subject: string;
  month_limit_micro_usd: number;
  set_by: string;
  set_at: At;
}

export interface BaselinesTable {
  tenant: string;
  p99_calls_per_minute: number;
  minutes: number;
  at: At;
}

export interface AlarmsTable {
  tenant: string;
  id: Generated<number>;
  kind: 'level' | 'runaway' | 'runaway_stopped' | 'throttled';
  subject: string;
  step: number;
  run_id: OrNull<string>;
  data: Json<Record<string, unknown>>;
  at: At;
  told: Generated<boolean>;
  acknowledged_by: OrNull<string>;
  acknowledged_at: AtOrNull;
}

export interface ProductSettingsTable {
  one: Generated<boolean>;
  platform_tenant: OrNull<string>;
  month_limit_micro_usd: OrNull<number>;
  raised_at: AtOrNull;
}

export interface ProductMonthsTable {
  month: string;
  limit_micro_usd: OrNull<number>;
}

export interface ProductAccountsTable {
  month: string;
  part: number;
  allotted_micro_usd: OrNull<number>;
  reserved_micro_usd: Generated<number>;
  settled_micro_usd: Generated<number>;
}

export interface ProductEntriesTable {
  id: Generated<number>;
  month: string;
  kind: 'raise';
  amount_micro_usd: number;
  raise_id: string;
  by_subject: string;
  reason: string;
  at: At;
}

export interface ProductSamplesTable {
  at: At;
  settled_micro_usd: number;
}

export interface ProductAlarmsTable {
  id: Generated<number>;
  kind: 'level' | 'day' | 'minute';
  subject: string;
  step: number;
  data: Json<Record<string, unknown>>;
  at: At;
  told: Generated<boolean>;
  acknowledged_by: OrNull<string>;
  acknowledged_at: AtOrNull;
}
