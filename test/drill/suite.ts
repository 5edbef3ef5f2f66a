import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { isStewardError } from '#domain/errors.ts';
import { type KillResponse, SwitchAction, SwitchScope } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { OLGA } from '#test/support/stack.ts';
import type { DrillOptions } from './options.ts';
import { type Live, type Phase, startLive, untilInFlight, untilInPhase } from './phases.ts';
import { type Commit, type DrillWorld, drillWorld, SLOW_S } from './world.ts';

/** One kill with what it met. Times are milliseconds since 1970, by the database's clock. */
export interface Kill {
  readonly name: string;
  readonly lives: readonly Live[];
  readonly calledAt: number;
  readonly setAt: number;
  readonly returnedAt: number;
  readonly answer: KillResponse;
  /** Effects that must not have been: each said. */
  readonly after: readonly string[];
  /** Runs and calls that had not stopped when they must have. */
  readonly stragglers: readonly string[];
  /** Per run: from the call until nothing of it could take effect any more. */
  readonly stopMs: readonly number[];
  /** From the call to the last commit of any of its effects; null: there was none after the call. */
  readonly lastCommitMs: number | null;
}

export interface Drilled {
  readonly kills: readonly Kill[];
  /** What did not start or go on once the switches were lifted. */
  readonly stuck: readonly string[];
}

/** What is in flight must be resolved so soon after the call, and runs have ended, or be paused. */
const WORK_MS = 2_000;
const RUNS_MS = 15_000;
const LOOK_MS = 50;

/** Of the whole number of runs: those that the product's kill meets, in these parts. */
const PARTS: Readonly<Record<Phase, number>> = {
  streaming: 5,
  tool: 7,
  approval: 4,
  backoff: 3,
  timer: 3,
  queue: 3,
  busy: 5,
};

export async function playDrill(options: DrillOptions, say: (line: string) => void): Promise<Drilled> {
  const world = await drillWorld(options);
  try {
    return await onWorld(world, options, say);
  } finally {
    await world.stop();
  }
}

async function onWorld(world: DrillWorld, options: DrillOptions, say: (line: string) => void): Promise<Drilled> {
  const { test } = world;
  const limits = { model_calls: 200, tool_calls: 200 };
  const agents = {
    product: await test.applyAgent({ name: 'drill', limits, budget: '$5' }),
    paused: await test.applyAgent({ name: 'drill-paused', limits, budget: '$5' }),
    tool: await test.applyAgent({ name: 'drill-tool', limits, budget: '$5' }),
  };
  const few = Math.max(2, Math.floor(options.runs / 10));
  const kills: Kill[] = [];

  const acting = await startAll(world, agents.tool, repeat('busy', few), options.seed);
  await untilInPhase(test, acting);
  say(`${acting.length} runs act all the time; killing their tool`);
  kills.push(await killTool(world, acting));

  const pausing = await startAll(
    world,
    agents.paused,
    [...repeat('streaming', 1), ...repeat('approval', 1)],
    options.seed,
  );
  await untilInPhase(test, pausing);
  pausing.push(...(await flying(world, agents.paused, few)));
  say(`${pausing.length} runs of one agent; pausing it`);
  const paused = await kill(world, 'agent, pausing', pausing, {
    scope: SwitchScope.AGENT,
    target: agents.paused,
    action: SwitchAction.PAUSE,
  });
  kills.push(paused);

  kills.push(await killProduct(world, agents.product, options, options.runs - acting.length - pausing.length, say));
  const stuck = await goesOn(world, kills, agents.product);
  return { kills, stuck };
}

async function killProduct(
  world: DrillWorld,
  agent: string,
  options: DrillOptions,
  runs: number,
  say: (line: string) => void,
): Promise<Kill> {
  const { test } = world;
  const total = Object.values(PARTS).reduce((sum, part) => sum + part, 0);
  const count = (phase: Phase) => Math.max(1, Math.round((PARTS[phase] * runs) / total));
  const before = (['approval', 'backoff', 'timer', 'busy', 'streaming'] as const).flatMap((phase) =>
    repeat(phase, count(phase)),
  );
  const lives = await startAll(world, agent, before, options.seed);
  await untilInPhase(test, lives);
  lives.push(
    ...(await flying(world, agent, count('tool'), async () => {
      // No slot is left for these.
      await test.query(`update steward.tenants set max_concurrent_runs =
      (select count(*) from steward.agent_runs where closed_at is null and status <> 'queued') where id = 'acme'`);
      const queued = await startAll(world, agent, repeat('queue', count('queue')), options.seed);
      await untilInPhase(test, queued);
      lives.push(...queued);
    })),
  );
  say(`${lives.length} runs in every phase; killing the product`);
  return kill(world, 'product', lives, { scope: SwitchScope.PRODUCT });
}

/** Runs with a call in flight each; `meanwhile` is done once they have been started. */
async function flying(
  world: DrillWorld,
  agent: string,
  count: number,
  meanwhile?: () => Promise<void>,
): Promise<Live[]> {
  const lives = await Promise.all(repeat('tool', count).map((phase) => startLive(world.test, agent, phase)));
  await meanwhile?.();
  await untilInFlight(world.test, count);
  return lives;
}

async function startAll(world: DrillWorld, agent: string, phases: readonly Phase[], seed: number): Promise<Live[]> {
  const order = phases
    .map((phase, at) => ({ phase, rank: Math.sin(seed + at * 7_919) }))
    .sort((a, b) => a.rank - b.rank);
  const lives: Live[] = [];
  for (const { phase } of order) lives.push(await startLive(world.test, agent, phase));
  return lives;
}

const repeat = (phase: Phase, times: number): Phase[] => Array.from({ length: times }, () => phase);

interface Order {
  readonly scope: SwitchScope;
  readonly target?: string;
  readonly action?: SwitchAction;
}

/** Kills, and watches what becomes of the runs that are met. */
function kill(world: DrillWorld, name: string, lives: readonly Live[], order: Order): Promise<Kill> {
  return world.blinded(() => killAndWatch(world, name, lives, order));
}

async function killAndWatch(world: DrillWorld, name: string, lives: readonly Live[], order: Order): Promise<Kill> {
  const tool = order.scope === SwitchScope.TOOL;
  const calledAt = await world.now();
  const client = order.scope === SwitchScope.PRODUCT ? world.platform : world.local;
  const working = tool ? null : workingLater(world, lives);
  const answer = await client.kill({ requestId: randomUUID(), reason: 'drill', drill: true, ...order });
  const returnedAt = await world.now();
  const setAt = answer.switch?.setAt ? timestampMs(answer.switch.setAt) : calledAt;
  const pausing = order.action === SwitchAction.PAUSE;
  const stragglers =
    working === null ? [] : [...(await working), ...(await openLater(world, lives, calledAt, pausing))];
  stragglers.push(...(await startsAll(world, order)));
  // Longer than any call that was in flight: what has not been stopped has its effect by then.
  await sleep(Math.max(0, calledAt + (tool ? WORK_MS : SLOW_S * 1_000 + 500) - (await world.now())));
  const commits = (await world.commits()).filter((one) => lives.some((live) => live.run === one.run));
  const late = await effectsAfter(world, commits, setAt, returnedAt, tool);
  const last = commits.filter((one) => one.at > calledAt).at(-1);
  return {
    name,
    lives,
    calledAt,
    setAt,
    returnedAt,
    answer,
    after: late,
    stragglers,
    stopMs: await stopTimes(world, lives, commits, calledAt, setAt),
    lastCommitMs: last === undefined ? null : last.at - calledAt,
  };
}

/** The runs go on without the tool; afterwards they are cancelled. */
async function killTool(world: DrillWorld, lives: readonly Live[]): Promise<Kill> {
  const done = await kill(world, 'tool', lives, { scope: SwitchScope.TOOL, target: 'update_task_status' });
  await world.local.unkill({ switchId: done.answer.switch?.id ?? '', reason: 'drill' });
  for (const { run } of lives) {
    await world.test
      .as(OLGA)
      .runs.cancelRun({ runId: run, requestId: randomUUID(), reason: 'drill' })
      .catch(() => undefined);
  }
  for (const { run } of lives) await world.test.closed(run);
  return done;
}

/**
 * Effects that must not have been: committed after the kill had returned, or committed after the switch stood for an
 * attempt that was let begin after it. A call that was in flight may still commit until the kill returns.
 */
async function effectsAfter(
  world: DrillWorld,
  commits: readonly Commit[],
  setAt: number,
  returnedAt: number,
  tool: boolean,
): Promise<string[]> {
  const late: string[] = [];
  for (const one of commits.filter(({ at }) => at > setAt)) {
    const [begun] = await world.test.query<{ at: number; tool: string }>(
      `select (extract(epoch from max(e.at)) * 1000)::float8 as at, max(e.data ->> 'tool') as tool
        from steward.agent_run_events e where e.run_id = $1 and e.call_id = $2 and e.kind = 'tool.started'`,
      [one.run, one.call],
    );
    if (tool && begun?.tool !== 'update_task_status') continue;
    const what = `${begun?.tool} of ${one.run}/${one.call}`;
    // An event bears the time its transaction began; the kill waits for those, so one that is later has not read it.
    if ((begun?.at ?? 0) > setAt)
      late.push(`${what} began ${Math.round((begun?.at ?? 0) - setAt)} ms after the switch stood`);
    else if (one.at > returnedAt)
      late.push(`${what} committed ${Math.round(one.at - returnedAt)} ms after the kill returned`);
  }
  return late;
}

async function stopTimes(
  world: DrillWorld,
  lives: readonly Live[],
  commits: readonly Commit[],
  calledAt: number,
  setAt: number,
): Promise<number[]> {
  const ends = await world.test.query<{ run_id: string; at: number }>(
    `select run_id, (extract(epoch from max(ended_at)) * 1000)::float8 as at from steward.agent_run_tool_invocations
      where run_id = any($1) and started_at is not null and ended_at > to_timestamp($2::float8 / 1000) group by run_id`,
    [lives.map(({ run }) => run), calledAt],
  );
  return lives.map(({ run, phase }) => {
    const commit = commits.filter((one) => one.run === run).at(-1)?.at ?? 0;
    // Of a tool that is killed the calls go on and are refused: what counts is the last effect.
    const resolved = phase === 'busy' ? 0 : (ends.find((end) => end.run_id === run)?.at ?? 0);
    return Math.max(setAt, commit, resolved) - calledAt;
  });
}

/** What of the runs is still at work two seconds after the call, whether it has returned by then or not. */
async function workingLater(world: DrillWorld, lives: readonly Live[]): Promise<string[]> {
  await sleep(WORK_MS);
  const rows = await world.test.query<{ what: string }>(
    `select 'call ' || run_id || '/' || call_id || ' is ' || state as what from steward.agent_run_tool_invocations
      where run_id = any($1) and state in ('started', 'outcome_unknown')
    union all select 'a model call of ' || run_id || ' is under way' from steward.agent_run_costs
      where run_id = any($1) and state = 'reserved'`,
    [lives.map(({ run }) => run)],
  );
  return rows.map(({ what }) => what);
}

/** Runs that have not ended, or are not paused, when they must have. */
async function openLater(
  world: DrillWorld,
  lives: readonly Live[],
  calledAt: number,
  pausing: boolean,
): Promise<string[]> {
  for (;;) {
    const open = await world.test.query<{ what: string }>(
      `select id || ' is ' || status as what from steward.agent_runs
        where id = any($1) and closed_at is null and not ($2 and status = 'paused')`,
      [lives.map(({ run }) => run), pausing],
    );
    if (open.length === 0 || (await world.now()) > calledAt + RUNS_MS) return open.map(({ what }) => what);
    await sleep(LOOK_MS);
  }
}

/** What a new run of the scope says: none may start. */
async function startsAll(world: DrillWorld, { scope, target }: Order): Promise<string[]> {
  if (scope === SwitchScope.TOOL) return [];
  try {
    const { id } = await world.test.start(target ?? 'drill', 'script: echo');
    return [`run ${id} could be started`];
  } catch (error) {
    return isStewardError(error) && error.code === 'KILLED'
      ? []
      : [`a new run was refused otherwise: ${String(error)}`];
  }
}

/** Lifted: a new run does its work, and what was paused goes on. */
async function goesOn(world: DrillWorld, kills: readonly Kill[], agent: string): Promise<string[]> {
  const { test } = world;
  const stuck: string[] = [];
  // In reverse: what the product's switch has cancelled stays so.
  for (const one of kills.toReversed()) {
    const client = one.name === 'product' ? world.platform : world.local;
    await client.unkill({ switchId: one.answer.switch?.id ?? '', reason: 'drill' });
  }
  await test.query("update steward.tenants set max_concurrent_runs = 100 where id = 'acme'");
  const run = await test.start(agent, 'script: echo');
  const { status } = await test.closed(run.id);
  if (status !== RunStatus.COMPLETED) stuck.push(`a new run ended with status ${status}`);
  return stuck;
}
