import { sql, type Transaction } from 'kysely';
import type { RunRef } from '#domain/ports/run-store.ts';
import { type NewEvent, record } from './journal.ts';
import type { MovedLevel } from './ledger.ts';
import type { RunRow } from './run-row.ts';
import { storableJson } from './storable.ts';
import type { Database } from './tables.ts';

/** Percent of a level's limit at which there is an alarm. */
export const STEPS = [50, 75, 90, 100] as const;
/** Times what a run of its agent usually costs. */
export const RUNAWAY_TIMES = 10;
export const STOPPED_TIMES = 50;
/** What is usual counts as at least that much, so that little things do not alarm: one cent. */
export const LEAST_TYPICAL = 10_000;

/** An alarm as it is written; one of a kind, subject and step there is once. */
export interface NewAlarm {
  readonly kind: 'level' | 'runaway' | 'runaway_stopped' | 'throttled';
  readonly subject: string;
  readonly step: number;
  readonly run: string | null;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Writes alarms that there are not yet; returns those that were new. */
export async function raiseAlarms(
  trx: Transaction<Database>,
  tenant: string,
  alarms: readonly NewAlarm[],
): Promise<readonly NewAlarm[]> {
  if (alarms.length === 0) return [];
  const rows = await trx
    .insertInto('budget_alarms')
    .values(
      alarms.map(({ kind, subject, step, run, data }) => ({
        tenant,
        kind,
        subject,
        step,
        run_id: run,
        data: storableJson(data),
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .returning(['kind', 'subject', 'step'])
    .execute();
  return alarms.filter((one) =>
    rows.some(({ kind, subject, step }) => kind === one.kind && subject === one.subject && step === one.step),
  );
}

/**
 * What a settlement that has just moved these levels is an alarm for: written where it is, and returned as events for
 * the run's journal where it is about the run. Costs nothing where no step was crossed.
 */
export async function alarmsOf(
  trx: Transaction<Database>,
  ref: RunRef,
  run: Pick<RunRow, 'typical_micro_usd' | 'closed_at'>,
  moved: readonly MovedLevel[],
): Promise<NewEvent[]> {
  const alarms: NewAlarm[] = moved.flatMap(({ level, account, limit, settled, was }) =>
    STEPS.filter((step) => was * 100 < limit * step && settled * 100 >= limit * step).map((step) => ({
      kind: 'level' as const,
      subject: account,
      step,
      run: ref.run,
      data: { level, limit, settled },
    })),
  );
  const own = moved.find(({ level }) => level === 'run');
  const { typical_micro_usd: seen } = run;
  if (own !== undefined && seen !== null) {
    const usual = Math.max(seen, LEAST_TYPICAL);
    for (const times of [RUNAWAY_TIMES, STOPPED_TIMES]) {
      if (own.was >= usual * times || own.settled < usual * times) continue;
      const kind = times === STOPPED_TIMES ? 'runaway_stopped' : 'runaway';
      const data = { settled: own.settled, typical: seen, least: LEAST_TYPICAL };
      alarms.push({ kind, subject: ref.run, step: times, run: ref.run, data });
    }
  }
  const fresh = await raiseAlarms(trx, ref.tenant, alarms);
  if (run.closed_at) return [];
  return fresh
    .filter((alarm) => alarm.kind !== 'level' || alarm.data.level === 'run')
    .map(({ kind, step, data }) => ({ kind: 'budget.alarm', data: { alarm: kind, step, ...data } }) as NewEvent);
}

/** Whether a run has cost so much that it is not let go on. */
export function isRunaway(typical: number | null, settled: number): boolean {
  return typical !== null && settled >= Math.max(typical, LEAST_TYPICAL) * STOPPED_TIMES;
}

/** Notes that a level is used up although it was not spent to the last: the next call did not fit. */
export async function usedUp(
  trx: Transaction<Database>,
  ref: RunRef,
  level: { readonly level: string; readonly account: string; readonly micro: number },
  need: number,
): Promise<void> {
  if (level.level === 'product_month') return;
  const data = { level: level.level, left: level.micro, need };
  const alarm: NewAlarm = { kind: 'level', subject: level.account, step: 100, run: ref.run, data };
  await raiseAlarms(trx, ref.tenant, [alarm]);
}

/** A user's calls are made to wait: once an hour an alarm, and each time an event of the run. */
export async function throttled(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
  seen: { readonly account: string; readonly calls: number; readonly p99: number; readonly until: number },
): Promise<void> {
  const { account, calls, p99, until } = seen;
  const data = { calls, p99, until };
  const hour = Math.floor(until / 3_600_000);
  await raiseAlarms(trx, ref.tenant, [{ kind: 'throttled', subject: account, step: hour, run: ref.run, data }]);
  await record(trx, ref.tenant, ref.run, { events: [{ kind: 'turn.throttled', turn, data }] });
}

/** Alarms that have not been a line of the log yet; they count as told with the transaction. */
export async function untoldAlarms(trx: Transaction<Database>, limit: number): Promise<readonly NewAlarm[]> {
  const { rows } = await sql<NewAlarm>`
    update budget_alarms a set told = true
    from (select id from budget_alarms where not told order by id limit ${limit} for update skip locked) as due
    where a.id = due.id returning a.kind, a.subject, a.step, a.run_id as run, a.data`.execute(trx);
  return rows;
}
