import type { Transaction } from 'kysely';
import type { RunRef } from '#domain/ports/run-store.ts';
import { crossed } from '#domain/run.ts';
import { lockRemainders, type Remainder } from './accounts.ts';
import { alarmsOf, usedUp } from './alarms.ts';
import { type NewEvent, record } from './journal.ts';
import { chargeDead, runCost } from './ledger.ts';
import { lockRun, type RunRow } from './run-row.ts';
import type { Database } from './tables.ts';

/** Shows that the run waits for budget, and again only where something else is missing by now. Its row is locked. */
export async function exhausted(
  trx: Transaction<Database>,
  ref: RunRef,
  run: RunRow,
  short: Remainder,
  need: number,
  at: Date,
): Promise<void> {
  const { level } = short;
  await usedUp(trx, ref, short, need);
  const waitsUntil = run.status === 'budget_exceeded' ? run.waits_until : null;
  const until = waitsUntil ?? new Date(at.getTime() + run.waits.budgetMs);
  if (waitsUntil) {
    const shown = await trx
      .selectFrom('agent_run_events')
      .select('data')
      .where('run_id', '=', ref.run)
      .where('kind', '=', 'budget.exhausted')
      .orderBy('sequence', 'desc')
      .limit(1)
      .executeTakeFirst();
    if (shown?.data.level === level && shown.data.need === need) return;
  }
  await trx
    .updateTable('agent_runs')
    .set({ status: 'budget_exceeded', waits_until: until, waits_for_micro_usd: short.micro + need })
    .where('id', '=', ref.run)
    .execute();
  const data = { level, need, until: until.getTime() };
  await record(trx, ref.tenant, ref.run, { events: [{ kind: 'budget.exhausted', data }] });
}

/** Warnings of what a turn adds; `run` is the row before it. Tool calls are the guard's to warn of. */
export function turnWarnings(
  run: RunRow,
  turn: number,
  added: { readonly tokens: number; readonly activeMs: number },
): NewEvent[] {
  const tokens = run.input_tokens + run.output_tokens + run.cache_read_tokens + run.cache_write_tokens;
  const { limits } = run;
  return [
    ...crossed('model_calls', run.model_calls, run.model_calls + 1, limits.modelCalls),
    ...crossed('tokens', tokens, tokens + added.tokens, limits.tokens),
    ...crossed('active_time', run.active_ms, added.activeMs, limits.activeMs),
  ].map((data) => ({ kind: 'limit.warning', turn, data }));
}

/** The warning of a budget that `cost`, which is settled already in what is spent, has taken past 75 %. */
export function costWarnings(
  { settled, limit }: { readonly settled: number; readonly limit: number },
  turn: number,
  cost: number,
): NewEvent[] {
  return crossed('budget', settled - cost, settled, limit).map((data) => ({ kind: 'limit.warning', turn, data }));
}

/**
 * Charges an attempt whose worker died at its reservation, and says so in the journal. Returns what it was charged: 0
 * where it has settled meanwhile.
 */
export async function chargeDeadAttempt(
  trx: Transaction<Database>,
  ref: RunRef,
  attempt: { readonly id: string; readonly turn: number },
  at: Date,
): Promise<number> {
  await lockRemainders(trx, ref.tenant, ref.run, at);
  const { cost, moved } = await chargeDead(trx, ref.tenant, ref.run, attempt.id);
  const run = await lockRun(trx, ref);
  const alarms = await alarmsOf(trx, ref, run, moved);
  if (cost === 0 || run.closed_at) return cost;
  const message = 'Its worker died; what it cost is not known, and it is charged at what was reserved.';
  await record(trx, ref.tenant, ref.run, {
    events: [
      { kind: 'turn.failed', turn: attempt.turn, data: { code: 'UNAVAILABLE', message, cost, retrying: true } },
      ...costWarnings(await runCost(trx, ref.run), attempt.turn, cost),
      ...alarms,
    ],
  });
  return cost;
}
