/** What a call spends, and the limits on what may be spent. Pure; amounts are whole numbers of the quantity's unit. */

import type { JsonObject } from './json.ts';

/** Where the amount of one quantity of a call comes from. */
export type QuantitySource =
  /** Only the catalog knows: the preview says it. */
  | { readonly kind: 'preview' }
  | { readonly kind: 'constant'; readonly amount: number }
  /** A whole number among the arguments. */
  | { readonly kind: 'field'; readonly field: string }
  /** How many a list among the arguments has. */
  | { readonly kind: 'count'; readonly field: string };

export interface Quantity {
  readonly name: string;
  readonly from: QuantitySource;
}

const DECLARED =
  /^([a-z][a-z0-9_]{0,30}(?:\.[a-z][a-z0-9_]{0,30})?)(?:=(?:(\d{1,9})|([a-z][A-Za-z0-9_]{0,62})|count\(([a-z][A-Za-z0-9_]{0,62})\)))?$/;

/**
 * Reads what a tool declares: `refund.cents` (the preview says how much), `rows.deleted=1`, `refund.cents=amount_cents`,
 * `emails=count(to)`. Null where it is none of these.
 */
export function parseQuantity(declared: string): Quantity | null {
  const match = DECLARED.exec(declared);
  const [, name, constant, field, list] = match ?? [];
  if (name === undefined) return null;
  if (constant !== undefined) return { name, from: { kind: 'constant', amount: Number(constant) } };
  if (field !== undefined) return { name, from: { kind: 'field', field } };
  return list === undefined ? { name, from: { kind: 'preview' } } : { name, from: { kind: 'count', field: list } };
}

/** The name alone. */
export function quantityName(declared: string): string {
  return declared.split('=', 1)[0] ?? declared;
}

/** Whether the preview must be asked for before it is known what a call spends. */
export function needsPreview(declared: readonly string[]): boolean {
  return declared.some((one) => parseQuantity(one)?.from.kind === 'preview');
}

/**
 * What a call spends, by name: every quantity that is declared. Null where it cannot be told: an argument is missing or no whole number,
 * or the preview says nothing of it. Such a call must not run.
 */
export function amountsOf(
  declared: readonly string[],
  args: JsonObject,
  preview: Readonly<Record<string, number>> | null,
): Readonly<Record<string, number>> | null {
  const amounts: Record<string, number> = {};
  for (const one of declared) {
    const quantity = parseQuantity(one);
    const amount = quantity === null ? undefined : amountOf(quantity, args, preview);
    if (quantity === null || amount === undefined || !Number.isSafeInteger(amount) || amount < 0) return null;
    amounts[quantity.name] = amount;
  }
  return amounts;
}

function amountOf({ name, from }: Quantity, args: JsonObject, preview: Readonly<Record<string, number>> | null) {
  switch (from.kind) {
    case 'constant':
      return from.amount;
    case 'preview':
      // A tool that may spend two quantities may spend one of them only; that it has a preview is what counts.
      return preview === null ? undefined : (preview[name] ?? 0);
    case 'field': {
      const value = Object.hasOwn(args, from.field) ? args[from.field] : undefined;
      return typeof value === 'number' ? value : undefined;
    }
    case 'count': {
      const value = Object.hasOwn(args, from.field) ? args[from.field] : undefined;
      return Array.isArray(value) ? value.length : undefined;
    }
  }
}

/** Over what a limit adds up. Hours and days slide, and count from the reservation. `turn`: what one turn proposes. */
export const LIMIT_SCOPES = [
  'action',
  'turn',
  'run',
  'user-hour',
  'user-day',
  'agent-day',
  'tenant-hour',
  'tenant-day',
] as const;
export type LimitScope = (typeof LIMIT_SCOPES)[number];

export interface QuantityLimit {
  readonly quantity: string;
  readonly scope: LimitScope;
  /** At most so much; null: no limit. */
  readonly amount: number | null;
  /** What becomes of a call that would go beyond it. */
  readonly outcome: 'deny' | 'ask';
  /** Of the approval that lets it pass; 0 where it denies. */
  readonly tier: number;
}

/** Destructive and irreversible calls of one turn, each counted with the rows it deletes. */
export const BATCH = 'batch.destructive';

const deny = (quantity: string, scope: LimitScope, amount: number): QuantityLimit => ({
  quantity,
  scope,
  amount,
  outcome: 'deny',
  tier: 0,
});

/** What holds where a tenant has set nothing for the quantity and scope. */
export const DEFAULT_QUANTITY_LIMITS: readonly QuantityLimit[] = [
  deny('rows.deleted', 'user-hour', 5),
  deny('refund.cents', 'action', 50_000),
  deny('refund.cents', 'user-day', 100_000),
  deny('refund.cents', 'tenant-day', 1_000_000),
  { quantity: BATCH, scope: 'turn', amount: 5, outcome: 'ask', tier: 3 },
];

/** The limits in force: the tenant's own, and the defaults that it has not replaced. */
export function limitsInForce(own: readonly QuantityLimit[]): readonly QuantityLimit[] {
  const replaced = (one: QuantityLimit) =>
    own.some((other) => other.quantity === one.quantity && other.scope === one.scope);
  return [...own, ...DEFAULT_QUANTITY_LIMITS.filter((one) => !replaced(one))];
}

/** What has been spent or is held, by quantity and scope. */
export type Used = Readonly<Record<string, Readonly<Partial<Record<LimitScope, number>>>>>;

/** A limit that a call would go beyond. */
export interface Breach {
  readonly limit: QuantityLimit & { readonly amount: number };
  readonly used: number;
  readonly asked: number;
}

/** Limits that these amounts would go beyond, after what is used. */
export function breaches(
  amounts: Readonly<Record<string, number>>,
  used: Used,
  limits: readonly QuantityLimit[],
): readonly Breach[] {
  const found: Breach[] = [];
  for (const limit of limits) {
    const asked = amounts[limit.quantity] ?? 0;
    const before = limit.scope === 'action' ? 0 : (used[limit.quantity]?.[limit.scope] ?? 0);
    if (limit.amount === null || asked === 0 || limit.scope === 'turn' || before + asked <= limit.amount) continue;
    found.push({ limit: { ...limit, amount: limit.amount }, used: before, asked });
  }
  return found;
}

/** What is used after these amounts, too. */
export function usedAfter(used: Used, amounts: Readonly<Record<string, number>>): Used {
  const after: Record<string, Partial<Record<LimitScope, number>>> = { ...used };
  for (const [quantity, amount] of Object.entries(amounts)) {
    const scopes = LIMIT_SCOPES.map((scope) => [scope, (used[quantity]?.[scope] ?? 0) + amount] as const);
    after[quantity] = Object.fromEntries(scopes);
  }
  return after;
}

const WITHIN: Readonly<Record<LimitScope, string>> = {
  action: 'in one call',
  turn: 'in one turn',
  run: 'in this run',
  'user-hour': 'for this user within an hour',
  'user-day': 'for this user within 24 hours',
  'agent-day': 'by this agent within 24 hours',
  'tenant-hour': 'for the whole tenant within an hour',
  'tenant-day': 'for the whole tenant within 24 hours',
};

/** One sentence for the model and for people. */
export function breachText({ limit, used, asked }: Breach): string {
  const left = Math.max(0, limit.amount - used);
  return `${asked} ${limit.quantity} is more than the limit leaves: ${limit.amount} ${WITHIN[limit.scope]}, ${left} left`;
}
