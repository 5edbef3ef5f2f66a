import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import {
  BATCH,
  type Breach,
  breaches,
  breachText,
  type QuantityLimit,
  type Used,
  usedAfter,
} from '#domain/quantities.ts';
import type { Tier } from '#domain/verdict.ts';
import { hold, holdsAlready, limitsOf, lockQuantities, type Spender, usedBy } from '#platform/database/quantities.ts';
import type { Database } from '#platform/database/tables.ts';
import type { RunRow } from '../runs.ts';
import { deny, type Finding, MAX_ASKED_BYTES, type Spends, type Turn, tooLongToAsk, withPreview } from './assess.ts';
import type { JudgedCall } from './judge-turn.ts';

/** Whose windows a run's calls count in. */
export function spenderOf(run: RunRow): Spender {
  return { tenant: run.tenant, run: run.id, user: run.acting_user, agent: run.agent };
}

/**
 * Holds the calls of a turn against the tenant's limits, in order, each with what the earlier ones leave. A call that is
 * asked for holds nothing while a person thinks; where it could not run now whatever they say, it is denied and nobody is
 * asked. In the transaction that stores the verdicts, behind the run's row. Calls that spend nothing cost nothing.
 */
export async function limitTurn(
  trx: Transaction<Database>,
  run: RunRow,
  turn: Turn,
  calls: readonly JudgedCall[],
): Promise<readonly JudgedCall[]> {
  const quantities = [...new Set(calls.flatMap(({ finding }) => spentOf(spendsOf(finding))))];
  const batch = calls.reduce((sum, call) => sum + itemsOf(call), 0);
  if (quantities.length === 0 && batch === 0) return calls;
  if (quantities.length > 0) await lockQuantities(trx, run.tenant, quantities);
  const limits = await limitsOf(trx);
  let used: Used = quantities.length === 0 ? {} : await usedBy(trx, spenderOf(run), quantities);
  const wide = limits.find((one) => one.quantity === BATCH && one.scope === 'turn');
  return calls.map((call) => {
    const { finding } = call;
    if (finding.verdict === 'deny') return call;
    const all: Breach[] = [...breaches(finding.spends, used, limits)];
    if (wide?.amount != null && batch > wide.amount && itemsOf(call) > 0) {
      all.push({ limit: { ...wide, amount: wide.amount }, used: 0, asked: batch });
    }
    const limited = under(turn, call, all);
    if (limited.finding.verdict === 'allow') used = usedAfter(used, finding.spends);
    return limited;
  });
}

/** Quantities of which something is spent. */
function spentOf(spends: Spends): string[] {
  return Object.keys(spends).filter((quantity) => (spends[quantity] ?? 0) > 0);
}

function spendsOf(finding: Finding): Spends {
  return finding.verdict === 'deny' ? {} : finding.spends;
}

/** What a call adds to a batch of destructive ones. */
function itemsOf({ finding, tool }: JudgedCall): number {
  if (finding.verdict === 'deny') return 0;
  const rows = finding.spends['rows.deleted'] ?? 0;
  return tool?.risk === 'destructive' || tool?.risk === 'irreversible' ? Math.max(1, rows) : rows;
}

function under(turn: Turn, call: JudgedCall, all: readonly Breach[]): JudgedCall {
  const { finding, tool, read, index } = call;
  if (finding.verdict === 'deny' || all.length === 0) return call;
  const hard = all.find(({ limit }) => limit.outcome === 'deny');
  if (hard) return { ...call, finding: overLimit(hard) };
  const why = [
    ...finding.why,
    ...all.map((one) => `limit.${one.limit.quantity}/${one.limit.scope}: ${breachText(one)}`),
  ];
  const tier = Math.max(...all.map(({ limit }) => limit.tier), finding.verdict === 'ask' ? finding.tier : 0) as Tier;
  if (finding.verdict === 'ask') return { ...call, finding: { ...finding, why, tier } };
  const { record, spends, preview } = finding;
  if (record.bytes.length > MAX_ASKED_BYTES) return { ...call, finding: tooLongToAsk() };
  const shown = preview && tool && read.args ? withPreview(turn, index, tool, read.args, preview) : record;
  return { ...call, finding: { verdict: 'ask', why, tier, record: shown, spends, preview, previewError: null } };
}

function overLimit(breach: Breach): Finding & { verdict: 'deny' } {
  const { limit, used } = breach;
  return deny('QUANTITY_LIMIT', `${breachText(breach)}. Propose less, or do without it.`, {
    limit: `${limit.quantity}/${limit.scope}`,
    left: Math.max(0, limit.amount - used),
  });
}

/** The claim of an execution grant that keeps an effect within what was judged, shown and reserved. */
export function mostOf(spends: Spends): { readonly most?: Spends } {
  return Object.keys(spends).length === 0 ? {} : { most: spends };
}

/**
 * Holds what a call spends from its beginning on, once: what it held before stays, and counts from now. `approval`: the
 * one that stands for it, of tier 0 where there is none. Throws QUANTITY_LIMIT, or APPROVAL_MISSING where a limit asks for more, or for what its
 * approver was not told of.
 */
export async function reserve(
  trx: Transaction<Database>,
  run: RunRow,
  call: string,
  spends: Spends,
  approval: { readonly tier: number; readonly why: readonly string[] },
): Promise<void> {
  const quantities = spentOf(spends);
  if (Object.keys(spends).length === 0) return;
  await lockQuantities(trx, run.tenant, quantities);
  if (await holdsAlready(trx, run.id, call)) return;
  const limits: readonly QuantityLimit[] = await limitsOf(trx);
  const spender = spenderOf(run);
  for (const breach of breaches(spends, await usedBy(trx, spender, quantities), limits)) {
    const { outcome, tier, quantity, scope } = breach.limit;
    const told = approval.why.some((line) => line.startsWith(`limit.${quantity}/${scope}:`));
    if (outcome === 'ask' && told && approval.tier >= tier) continue;
    const code = outcome === 'ask' ? 'APPROVAL_MISSING' : 'QUANTITY_LIMIT';
    throw new StewardError(code, `Call ${call}: ${breachText(breach)}.`, {
      details: { limit: `${quantity}/${scope}` },
    });
  }
  await hold(trx, spender, call, spends);
}
