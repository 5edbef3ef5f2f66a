import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { FAULTS, type Fault, READS_OF_THE_GUARD } from './faults.ts';
import type { FaultOptions } from './options.ts';
import { type Armed, arm, begin, type FaultWorld, faultWorld, resume } from './world.ts';

const CLOSE_MS = 120_000;

/** What came of one fault. */
export interface Outcome {
  readonly fault: Fault;
  /** Things that took place while it held and must not have, each said. */
  readonly allowed: readonly string[];
  /** Why Steward did not go on afterwards; null: it did. */
  readonly stuck: string | null;
  readonly recoveryMs: number;
}

/** Plays the faults one after the other on one stack. */
export async function attackFaults(options: FaultOptions, say: (line: string) => void): Promise<readonly Outcome[]> {
  const world = await faultWorld(options.sabotage);
  try {
    const names = options.sabotage === 'closed' && options.faults.length === 0 ? READS_OF_THE_GUARD : options.faults;
    const faults = FAULTS.filter(({ name }) => names.length === 0 || names.includes(name));
    const outcomes: Outcome[] = [];
    for (const fault of faults) {
      const outcome = await play(world, fault, options.holdMs);
      const { allowed, stuck, recoveryMs } = outcome;
      const found = [...allowed, ...(stuck === null ? [] : [stuck])];
      const came = found.length === 0 ? 'closed, and went on' : found.join('; ');
      say(`${fault.name}: ${came} (${(recoveryMs / 1_000).toFixed(1)} s)`);
      outcomes.push(outcome);
    }
    return outcomes;
  } finally {
    await world.stop();
  }
}

async function play(world: FaultWorld, fault: Fault, holdMs: number): Promise<Outcome> {
  const armed = await arm(world);
  const titles = [1, 2].map(() => `fault ${fault.name} ${randomUUID()}`);
  const modelBefore = await modelCalls(world);
  await fault.begin(world);
  // Not waited for: some of them hang as long as the fault holds.
  const started = [
    ...titles.map((title) => begin(world, title)),
    resume(world, armed).then(
      () => armed.run,
      () => undefined,
    ),
  ];
  const allowed: string[] = [];
  const until = Date.now() + holdMs;
  while (Date.now() < until) await sleep(100);
  if (fault.forbids === 'model calls') {
    const asked = (await modelCalls(world)) - modelBefore;
    if (asked > 0) allowed.push(`${asked} model calls without a reservation`);
  } else if (fault.readable !== false) {
    allowed.push(...(await effects(world, fault.forbids === 'effects' ? titles : [], armed)));
  }
  await fault.end(world);
  const ended = performance.now();
  const runs = (await Promise.all(started)).filter((run) => run !== undefined);
  const stuck = await goesOn(world, runs, armed, titles);
  return { fault, allowed, stuck, recoveryMs: performance.now() - ended };
}

/** Requests that have reached the model, by its own count. */
async function modelCalls({ test }: FaultWorld): Promise<number> {
  const response = await fetch(`${test.stack.offlineModel}/requests`);
  if (!response.ok) throw new Error(`The offline model does not say how often it was asked: ${response.status}.`);
  return ((await response.json()) as { requests: unknown[] }).requests.length;
}

async function effects({ test }: FaultWorld, titles: readonly string[], armed: Armed): Promise<string[]> {
  const made = await test.query('select title from projects.tasks where title = any($1)', [titles]);
  const gone = await test.query('select 1 from projects.tasks where id = $1 and deleted_at is not null', [armed.task]);
  return [...made.map(({ title }) => `${String(title)} was created`), ...gone.map(() => `${armed.task} was deleted`)];
}

/** Every run that was begun comes to its end, nothing has happened twice, and a new run does its work. */
async function goesOn(
  world: FaultWorld,
  runs: readonly string[],
  armed: Armed,
  titles: readonly string[],
): Promise<string | null> {
  const { test } = world;
  try {
    await resume(world, armed).catch(() => undefined);
    for (const run of new Set([...runs, armed.run])) await test.closed(run, CLOSE_MS);
    const title = `after ${randomUUID()}`;
    const run = await begin(world, title);
    if (run === undefined) return 'a new run could not be started';
    const { status } = await test.closed(run, CLOSE_MS);
    if (status !== RunStatus.COMPLETED) return `a new run ended with status ${status}`;
    const made = await test.query<{ title: string; n: number }>(
      'select title, count(*)::int as n from projects.tasks where title = any($1) group by title',
      [[...titles, title]],
    );
    if (!made.some((one) => one.title === title)) return 'a new run had no effect';
    const twice = made.find(({ n }) => n > 1);
    return twice === undefined ? null : `"${twice.title}" was created ${twice.n} times`;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).slice(0, 500);
  }
}
