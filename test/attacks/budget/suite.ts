import { setTimeout as delay } from 'node:timers/promises';
import { monthOfAccount, runAccount, tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import type { RunRef } from '#domain/ports/run-store.ts';
import { BUDGET_LEVELS, type BudgetLevel } from '#domain/run.ts';
import { createMaintenance } from '#services/worker/maintenance.ts';
import { activityEnvironment } from '#test/support/activities.ts';
import { type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import type { Said } from './child.ts';
import { playChild } from './children.ts';
import type { BudgetOptions } from './options.ts';
import { randomOf } from './random.ts';
import { installLog, readMoves, replay } from './replay.ts';

/** What one ledger came to. */
export interface LedgerFigures {
  readonly tight: BudgetLevel;
  readonly attempts: number;
  readonly refused: number;
  readonly kills: number;
  readonly admittedPastLimit: number;
  readonly overageMicroUsd: number;
  readonly releasedLeaks: number;
  readonly stuckReservations: number;
  readonly errors: number;
}

const CHILDREN = 4;
/** An attempt is dead that long after its beginning. */
const DEAD_AFTER_MS = 3_000;
/** So roomy that it is never reached: micro-USD. */
const ROOMY = 1_000_000_000;

/** Attacks one ledger after the other, each with another level as the tight one. */
export async function attackBudget(
  options: BudgetOptions,
  say: (line: string) => void,
): Promise<readonly LedgerFigures[]> {
  const attack = async (bench: Bench, tight: BudgetLevel, nth: number): Promise<LedgerFigures> => {
    const figures = await attackLedger(bench, tight, { ...options, seed: (options.seed + nth) >>> 0 }, say);
    const { attempts, refused, kills, admittedPastLimit } = figures;
    say(`${tight}: ${attempts} attempts, ${refused} refused, ${kills} kills, ${admittedPastLimit} past the limit`);
    return figures;
  };
  // Two at once: while one waits for its dead attempts' time to be up, the other races.
  const found: LedgerFigures[] = [];
  for (let at = 0; at < BUDGET_LEVELS.length; at += 2) {
    const benches = [await workerBench(), await workerBench()];
    const pair = benches.map((bench, nth) => attack(bench, BUDGET_LEVELS[at + nth] as BudgetLevel, at + nth));
    found.push(...(await Promise.all(pair)));
  }
  return found;
}

async function attackLedger(
  bench: Bench,
  tight: BudgetLevel,
  options: BudgetOptions,
  say: (line: string) => void,
): Promise<LedgerFigures> {
  try {
    const { limits, runs } = await seed(bench, tight, options);
    await installLog(bench.database);
    const heard: Said[] = [];
    const kills = await race(bench, runs, options, heard);
    const errors = new Set(heard.flatMap((one) => (one.what === 'error' ? [`${one.code}: ${one.message}`] : [])));
    for (const error of [...errors].slice(0, 5)) say(error);
    await sweepDead(bench, say);
    return await count(bench, tight, limits, heard, kills);
  } finally {
    await bench.stop();
  }
}

type Bench = Awaited<ReturnType<typeof workerBench>>;

/** Limits by account as the replay names them; an account without one is not in it. */
type Limits = ReadonlyMap<string, number>;

/** Runs whose calls are held at about 7,500 micro-USD each; the tight level affords less than one a turn. */
async function seed(
  bench: Bench,
  tight: BudgetLevel,
  options: BudgetOptions,
): Promise<{ readonly limits: Limits; readonly runs: readonly SeededRun[] }> {
  const each = options.turns * 5_000;
  const all = each * options.runs;
  const limits = new Map<string, number>();
  const now = Date.now();
  const tenants = await Promise.all(
    Array.from({ length: tight === 'product_month' ? 4 : 1 }, () =>
      bench.database.tenant({
        month_budget_micro_usd: tight === 'tenant_month' ? all : ROOMY,
        user_month_micro_usd: tight === 'user_month' ? all : null,
      }),
    ),
  );
  if (tight === 'product_month') {
    await bench.database.query('update steward.product_settings set month_limit_micro_usd = $1', [all]);
    limits.set(`product/${monthOfAccount(tenantMonthAccount(now))}`, all);
  }
  for (const tenant of tenants) {
    limits.set(`${tenant}/${tenantMonthAccount(now)}`, tight === 'tenant_month' ? all : ROOMY);
  }
  const runs: SeededRun[] = [];
  for (let nth = 0; nth < options.runs; nth += 1) {
    const tenant = tenants[nth % tenants.length] as string;
    const user = tight === 'user_month' ? 'ann@acme' : `user-${nth % 8}@acme`;
    const budget = tight === 'run' ? each : ROOMY;
    const run = await bench.run({ tenant, budget, columns: { acting_user: user }, grant: { user } });
    limits.set(`${tenant}/${runAccount(run.ref.run)}`, budget);
    if (tight === 'user_month') limits.set(`${tenant}/${userMonthAccount(now, user)}`, all);
    runs.push(run);
  }
  return { limits, runs };
}

/** Plays all runs in processes side by side, until the kills are used up and the rest is played to its end. */
async function race(bench: Bench, runs: readonly SeededRun[], options: BudgetOptions, heard: Said[]): Promise<number> {
  const random = randomOf(options.seed);
  let left = options.kills;
  let kills = 0;
  const children = Array.from({ length: CHILDREN }, (_, nth) => runs.filter((_run, at) => at % CHILDREN === nth));
  await Promise.all(
    children.map(async (own) => {
      const refs: RunRef[] = own.map(({ ref }) => ref);
      for (;;) {
        const hangAfter = left > 0 ? 1 + Math.floor(random() * own.length) : null;
        if (hangAfter !== null) left -= 1;
        const end = await playChild(
          {
            url: bench.url,
            jwks: bench.jwks,
            runs: refs,
            turns: options.turns,
            seed: Math.floor(random() * 2 ** 32),
            deadAfterMs: DEAD_AFTER_MS,
            hangAfter,
            sabotage: options.sabotage !== null,
          },
          (said) => heard.push(said),
        );
        if (end === 'done') return;
        kills += 1;
      }
    }),
  );
  return kills;
}

/** Once every attempt's time is up: one pass of the worker's own sweeper, and the return of some that it charged. */
async function sweepDead(bench: Bench, say: (line: string) => void): Promise<void> {
  await delay(DEAD_AFTER_MS + 100);
  const jobs = createMaintenance({
    db: bench.db,
    temporal: unreachable('Temporal'),
    closing: unreachable('closing'),
    log: { warn: (fields, message) => say(`${message} ${JSON.stringify(fields)}`) },
  });
  await activityEnvironment().run(jobs.sweep);
  const back = await bench.database.query<{ tenant: string; run: string; id: string; turn: number }>(
    `select tenant, run_id as run, attempt_id as id, turn from steward.agent_run_costs where state = 'charged'
     order by attempt_id limit 3`,
  );
  const usage = { input: 300, output: 10, cacheRead: 0, cacheWrite: 0, reasoning: 0 };
  const failure = { code: 'MODEL_CUT_OFF', message: 'came back', retrying: false } as const;
  for (const { tenant, run, id, turn } of back) {
    await bench.turns.endAttempt({ tenant, run }, turn, id, { kind: 'usage', usage }, failure);
  }
}

/** A part that the sweep of dead attempts has no business with. */
function unreachable<T extends object>(name: string): T {
  return new Proxy({} as T, {
    get: () => {
      throw new Error(`${name} was not to be used.`);
    },
  });
}

async function count(
  bench: Bench,
  tight: BudgetLevel,
  limits: Limits,
  heard: readonly Said[],
  kills: number,
): Promise<LedgerFigures> {
  const moves = await readMoves(bench.database);
  const replayed = new Map([...moves].map(([account, own]) => [account, replay(own, limits.get(account) ?? null)]));
  const accounts = await bench.database.query<{ account: string; reserved: string; settled: string }>(
    `select tenant || '/' || id as account, reserved_micro_usd::text as reserved, settled_micro_usd::text as settled
     from steward.ledger_accounts union all
     select 'product/' || month, sum(reserved_micro_usd)::text, sum(settled_micro_usd)::text
     from steward.product_accounts group by month`,
  );
  const costs = await bench.database.query<{
    id: string;
    state: string;
    held: string;
    settled: string | null;
    usage: unknown;
  }>(
    `select attempt_id as id, state, reserved_micro_usd::text as held, settled_micro_usd::text as settled, usage
     from steward.agent_run_costs`,
  );
  const ends = new Map(heard.flatMap((said) => (said.what === 'ends' ? [[said.attempt, said] as const] : [])));
  // What an account says of itself, and what its attempts come to.
  const wrongSums = accounts.filter(({ account, reserved, settled }) => {
    const own = replayed.get(account) ?? { reserved: 0, settled: 0 };
    return Number(reserved) !== own.reserved || Number(settled) !== own.settled;
  }).length;
  const leaks = costs.filter(({ id, state, held, settled, usage }) => {
    const told = ends.get(id);
    if (state === 'released') return told?.kind !== 'nothing';
    if (state === 'charged') return Number(settled) !== Number(held);
    if (state !== 'settled') return false;
    // Settled for less than it cost, or by somebody who never heard how it ended; those that came back have their usage.
    return told === undefined ? usage === null : Number(settled) < told.cost && usage === null;
  }).length;
  const held = accounts.filter(({ reserved }) => Number(reserved) !== 0).length;
  return {
    tight,
    attempts: costs.length,
    refused: heard.filter(({ what }) => what === 'refused').length,
    kills,
    admittedPastLimit: [...replayed.values()].reduce((sum, one) => sum + one.admittedPastLimit, 0),
    overageMicroUsd: costs.reduce((sum, one) => sum + Math.max(0, Number(one.settled ?? 0) - Number(one.held)), 0),
    releasedLeaks: leaks + wrongSums,
    stuckReservations: costs.filter(({ state }) => state === 'reserved').length + held,
    errors: heard.filter(({ what }) => what === 'error').length,
  };
}
