import type { LimitScope } from '#domain/quantities.ts';
import type { BenchRun } from '#test/support/guard/bench.ts';
import { type LimitsWorld, someone, type Try } from './world.ts';

/** What one phase has come to. */
export interface Outcome {
  readonly name: string;
  readonly attempts: number;
  readonly admitted: number;
  /** What the catalog has done beyond the limit. */
  readonly overshoot: number;
  /** Refused although it would have fitted. */
  readonly wronglyRefused: number;
}

/** Windows that several runs share, and whose they are: one user's, or many users' of one tenant. */
const SHARED: readonly (readonly [LimitScope, 'one user' | 'many users'])[] = [
  ['user-hour', 'one user'],
  ['user-day', 'one user'],
  ['agent-day', 'many users'],
  ['tenant-hour', 'many users'],
  ['tenant-day', 'many users'],
];
const LIMIT = 1_000;
const AMOUNT = 70;
const EACH = 3;

/** Every phase of the attack, in order. */
export async function* phases(world: LimitsWorld, runs: number, random: () => number): AsyncGenerator<Outcome> {
  for (const [scope, whose] of SHARED) {
    yield await race(world, scope, runsOf(world, runs, whose), runs);
    yield await split(world, scope, runsOf(world, runs, whose), runs, random);
  }
  yield await race(
    world,
    'run',
    async (tenant) => {
      const run = await world.run(tenant, someone());
      return Array.from({ length: runs }, () => run);
    },
    runs,
  );
  yield await oneByOne(world, random);
  yield await comingBack(world, runs);
  yield await late(world, runs);
  yield await sliding(world, runs);
}

function runsOf(world: LimitsWorld, count: number, whose: 'one user' | 'many users') {
  return async (tenant: string): Promise<readonly BenchRun[]> => {
    const user = someone();
    return Promise.all(Array.from({ length: count }, () => world.run(tenant, whose === 'one user' ? user : someone())));
  };
}

/** Equal amounts at the same time: as many must get through as fit, not one more and not one fewer. */
async function race(
  world: LimitsWorld,
  scope: LimitScope,
  make: (tenant: string) => Promise<readonly BenchRun[]>,
  count: number,
): Promise<Outcome> {
  const since = await world.now();
  const tenant = await world.tenant(scope, LIMIT);
  const runs = await make(tenant);
  const tries = await together(runs.map((run, at) => many(run, at, count)));
  return outcome(`${scope}: equal amounts`, tries, await world.paid(tenant, since), LIMIT, fits(tries));

  async function many(run: BenchRun, at: number, of: number): Promise<Try[]> {
    const own = new Set(runs).size === of;
    const tries: Try[] = [];
    for (let turn = 1; turn <= EACH; turn += 1) {
      // With the verdict; by one asking for leave; by three at once for the same call.
      const authorise = [0, 1, 3][(at + turn) % 3] ?? 0;
      tries.push(await world.pay(run, own ? turn : at * EACH + turn, AMOUNT, authorise));
    }
    return tries;
  }
}

/** Amounts of all sizes: what gets through together never passes the limit. */
async function split(
  world: LimitsWorld,
  scope: LimitScope,
  make: (tenant: string) => Promise<readonly BenchRun[]>,
  count: number,
  random: () => number,
): Promise<Outcome> {
  const since = await world.now();
  const tenant = await world.tenant(scope, LIMIT);
  const runs = await make(tenant);
  const amounts = Array.from({ length: count * 2 }, () => 1 + Math.floor(random() * 120));
  const tries = await together(
    runs.map(async (run, at) => [
      await world.pay(run, 1, amounts[at * 2] ?? 1, at % 2),
      await world.pay(run, 2, amounts[at * 2 + 1] ?? 1, 2),
    ]),
  );
  const paid = await world.paid(tenant, since);
  // Whatever was refused did not fit at the end, and less was left then than at any time before.
  const smallest = Math.min(...tries.filter(({ begun }) => !begun).map(({ amount }) => amount));
  const wrong = paid + smallest <= LIMIT ? 1 : 0;
  return outcome(`${scope}: split amounts`, tries, paid, LIMIT, wrong);
}

/** One after the other, against a model of what must happen: every verdict is known beforehand. */
async function oneByOne(world: LimitsWorld, random: () => number): Promise<Outcome> {
  const since = await world.now();
  const tenant = await world.tenant('user-day', LIMIT);
  const run = await world.run(tenant, someone());
  const tries: Try[] = [];
  let [spent, wrong] = [0, 0];
  for (let turn = 1; turn <= 40; turn += 1) {
    const one = await world.pay(run, turn, 1 + Math.floor(random() * 150), turn % 2);
    tries.push(one);
    const fitted = spent + one.amount <= LIMIT;
    if (fitted && !one.begun) wrong += 1;
    if (one.begun) spent += one.amount;
  }
  return outcome('one by one, against a model', tries, await world.paid(tenant, since), LIMIT, wrong);
}

/** Workers die between reservation and effect: what is held counts, what certainly did not happen comes back. */
async function comingBack(world: LimitsWorld, count: number): Promise<Outcome> {
  const since = await world.now();
  const tenant = await world.tenant('tenant-day', LIMIT);
  const runs = await runsOf(world, count, 'many users')(tenant);
  const held = await together(runs.map(async (run) => [await world.reserve(run, 1, AMOUNT)]));
  const begun = held.filter((one) => one.begun);
  const wrong = fits(held);
  const back = begun.filter((_, at) => at % 2 === 0);
  await Promise.all(begun.map((one, at) => world.end(one, at % 2 === 0 ? 'failed' : 'done')));
  // Those that took place count as spent; as much as came back gets through again, and not more.
  const again = await together(runs.map(async (run) => [await world.pay(run, 2, AMOUNT, 1)]));
  const admitted = again.filter((one) => one.begun).length;
  const paid = (await world.paid(tenant, since)) + (begun.length - back.length) * AMOUNT;
  const tries = [...held, ...again];
  return outcome('workers die, calls end', tries, paid, LIMIT, wrong + Math.max(0, back.length - admitted));
}

/** Time passes: what lies before the window counts no more, and what lies in it still does. */
async function sliding(world: LimitsWorld, count: number): Promise<Outcome> {
  const tenant = await world.tenant('user-hour', LIMIT);
  const runs = await runsOf(world, count, 'one user')(tenant);
  const first = await together(runs.map(async (run) => [await world.pay(run, 1, AMOUNT, 0)]));
  const old = first.filter((one) => one.begun).slice(0, 5);
  for (const { run, callId } of old) {
    await world.bench.database.query(
      `update steward.quantity_windows set reserved_at = reserved_at - interval '61 minutes', state = 'spent'
       where run_id = $1 and call_id = $2`,
      [run.id, callId],
    );
  }
  const since = await world.now();
  const kept = first.filter((one) => one.begun).length - old.length;
  const second = await together(runs.map(async (run) => [await world.pay(run, 2, AMOUNT, 2)]));
  const paid = (await world.paid(tenant, since)) + kept * AMOUNT;
  const room = Math.floor((LIMIT - kept * AMOUNT) / AMOUNT);
  const admitted = second.filter((one) => one.begun).length;
  return outcome('the window slides', [...first, ...second], paid, LIMIT, Math.max(0, room - admitted));
}

/** Calls that were let begin, and whose workers come back long after: they take effect then, and still count. */
async function late(world: LimitsWorld, count: number): Promise<Outcome> {
  const since = await world.now();
  const tenant = await world.tenant('tenant-day', LIMIT);
  const runs = await runsOf(world, count, 'many users')(tenant);
  const held = await together(runs.map(async (run) => [await world.reserve(run, 1, AMOUNT)]));
  await world.bench.database.query(
    `update steward.quantity_windows set reserved_at = reserved_at - interval '25 hours' where tenant = $1`,
    [tenant],
  );
  const others = await together(runs.map(async (run) => [await world.pay(run, 2, AMOUNT, 1)]));
  await Promise.all(held.filter((one) => one.begun).map((one) => world.carryOut(one)));
  return outcome('calls take effect late', [...held, ...others], await world.paid(tenant, since), LIMIT, fits(held));
}

async function together(work: readonly Promise<readonly Try[]>[]): Promise<Try[]> {
  return (await Promise.all(work)).flat();
}

/** How many too few of these equal amounts got through. */
function fits(tries: readonly Try[]): number {
  const admitted = tries.filter(({ begun }) => begun).length;
  return Math.max(0, Math.min(tries.length, Math.floor(LIMIT / AMOUNT)) - admitted);
}

function outcome(name: string, tries: readonly Try[], paid: number, limit: number, wronglyRefused: number): Outcome {
  const strange = tries.find(({ begun, code }) => !begun && code !== 'QUANTITY_LIMIT');
  if (strange) throw new Error(`${name}: a call was refused with ${strange.code}, not for the limit.`);
  return {
    name,
    attempts: tries.length,
    admitted: tries.filter(({ begun }) => begun).length,
    overshoot: Math.max(0, paid - limit),
    wronglyRefused,
  };
}
