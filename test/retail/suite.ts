import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SEEN_TWICE } from '#test/chaos/intents.ts';
import { FOLDER_VARIABLE, SABOTAGE_VARIABLE, type Target } from '#test/chaos/points.ts';
import { type Control, openControl } from '#test/chaos/probe.ts';
import { Supervisor } from '#test/chaos/supervisor.ts';
import { type TestStack, testStack } from '#test/support/stack.ts';
import { differences, faultOf } from './compare.ts';
import { hashOf, inCents, type Retail, type Task } from './data.ts';
import type { RetailOptions } from './options.ts';
import { play, tenantOf } from './play.ts';
import { effectsIn, stateOf, storeTemplate } from './shops.ts';

const COME_TO_MS = 10_000;
const LOOK_MS = 20;

/** What is killed, in turn. */
const AIMS: readonly (readonly [Target, string | null])[] = [
  ['orders', 'after-commit'],
  ['worker', 'after-effect'],
  ['guard', 'after-authorize'],
  ['worker', 'after-model-answer'],
  ['run-api', 'before-start'],
  ['orders', null],
  ['worker', null],
  ['guard', 'after-decide'],
];
/** Where a sabotaged catalog shows that it has forgotten what it did. */
const SABOTAGED_AIMS: typeof AIMS = [
  ['orders', 'after-commit'],
  ['worker', 'after-effect'],
];
const TARGETS: readonly Target[] = ['worker', 'guard', 'orders', 'run-api'];

/** What the suite has found about one task. */
export interface Result {
  readonly task: string;
  readonly run: string;
  readonly stateEqual: boolean;
  readonly actions: number;
  readonly returnsEqual: number;
  readonly duplicated: number;
  readonly faults: readonly string[];
}

export interface Found {
  readonly results: readonly Result[];
  readonly kills: readonly { readonly target: string; readonly point: string | null }[];
  readonly crashes: readonly string[];
  readonly seconds: number;
}

/** Brings a stack up, plays the tasks on it, and takes it down again, whatever happens. */
export async function playRetail(
  { tasks, shop }: Retail,
  options: RetailOptions,
  note: (line: string) => void,
  signal: AbortSignal,
): Promise<Found> {
  const folder = await mkdtemp(join(tmpdir(), 'steward-retail-'));
  const control = openControl(folder);
  const env = { [FOLDER_VARIABLE]: folder, [SABOTAGE_VARIABLE]: options.sabotage ?? '' };
  const killed = options.kills > 0;
  try {
    const s = await testStack({
      onProgress: note,
      signal,
      entries: killed ? Object.fromEntries(TARGETS.map((name) => [name, `test/chaos/processes/${name}.ts`])) : {},
      serviceEnv: {
        ...(killed ? Object.fromEntries(TARGETS.map((name) => [name, env])) : {}),
        'offline-model': { OFFLINE_MODEL_SCRIPTS: join(import.meta.dirname, 'scripts') },
      },
    });
    try {
      note('Storing the shop');
      await storeTemplate(s, shop);
      return await onStack(s, control, chosen(tasks, options), options, note, signal);
    } finally {
      note('Taking everything down');
      await s.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first tasks; sabotaged, of those with a write that the domain itself would take twice. */
function chosen(tasks: readonly Task[], { tasks: most, sabotage }: RetailOptions): readonly Task[] {
  const seen = ({ actions }: Task) => actions.some(({ tool, writes }) => writes && SEEN_TWICE.has(tool));
  return (sabotage === null ? tasks : tasks.filter(seen)).slice(0, most);
}

async function onStack(
  s: TestStack,
  control: Control,
  tasks: readonly Task[],
  options: RetailOptions,
  note: (line: string) => void,
  signal: AbortSignal,
): Promise<Found> {
  const began = Date.now();
  const over = AbortSignal.any([signal, AbortSignal.timeout(options.minutes * 60_000)]);
  const supervisor = options.kills > 0 ? new Supervisor(s.stack, control, note, TARGETS) : null;
  const results: Result[] = [];
  let begun = 0;
  let struck = 0;
  // Tasks begin no faster than processes are killed, so that there is work under every kill.
  const due = (index: number) => Math.floor((index * options.kills) / tasks.length);
  const player = async () => {
    for (let index = begun++; index < tasks.length; index = begun++) {
      while (struck < due(index)) await sleep(LOOK_MS, undefined, { signal: over });
      const task = tasks[index];
      if (task === undefined) return;
      const result = await playOne(s, task, over);
      results.push(result);
      note(`${results.length} of ${tasks.length}: task ${task.id}${result.faults.length > 0 ? ' DIFFERS' : ''}`);
    }
  };
  const striker = async () => {
    if (supervisor === null) return;
    for (; struck < options.kills && results.length < tasks.length; struck += 1) {
      const aims = options.sabotage === null ? AIMS : SABOTAGED_AIMS;
      const [target, point] = aims[struck % aims.length] ?? ['worker', null];
      await strike(supervisor, control, target, point, over);
    }
  };
  const players = Array.from({ length: Math.min(options.parallel, tasks.length) }, player);
  try {
    const work = Promise.all([...players, striker()]);
    await Promise.race([work, ...(supervisor === null ? [] : [supervisor.failed])]);
  } finally {
    await supervisor?.stop();
  }
  return {
    results,
    kills: supervisor?.kills ?? [],
    crashes: supervisor?.crashes ?? [],
    seconds: Math.round((Date.now() - began) / 1_000),
  };
}

/** Kills a process at a point, or wherever it is where nobody comes there. */
async function strike(
  supervisor: Supervisor,
  control: Control,
  target: Target,
  point: string | null,
  over: AbortSignal,
): Promise<void> {
  const { pid } = await supervisor.up(target);
  if (point !== null) {
    control.arm(target, point);
    const gone = () => supervisor.kills.some((kill) => kill.target === target && kill.pid === pid);
    for (const end = Date.now() + COME_TO_MS; Date.now() < end && !gone(); ) {
      await sleep(LOOK_MS, undefined, { signal: over });
    }
    if (!control.disarm(target, point)) return;
  }
  await supervisor.kill(target);
}

async function playOne(s: TestStack, task: Task, over: AbortSignal): Promise<Result> {
  const played = await play(s, task, over);
  const tenant = tenantOf(task);
  const [state, effects] = await Promise.all([stateOf(s, tenant), effectsIn(s, tenant)]);
  const stateEqual = hashOf(state) === task.expected.sha256_cents;
  const wanted = task.actions.filter(({ writes, result }) => writes && result.ok).length;
  const returns = task.actions.map((action, index) => faultOf(action, played.calls[index]));
  const duplicated = Math.max(effects.rows - effects.keys, effects.rows - wanted, 0);
  const faults = [
    ...(played.status === 'COMPLETED' ? [] : [`the run ended as ${played.status}`]),
    ...(played.calls.length === task.actions.length ? [] : [`${played.calls.length} calls were made`]),
    ...returns.filter((fault) => fault !== null),
    ...(stateEqual ? [] : stateFaults(task, state)),
    ...(duplicated > 0 ? [`${effects.rows} effects where ${wanted} were wanted`] : []),
  ];
  return {
    task: task.id,
    run: played.run,
    stateEqual,
    actions: task.actions.length,
    returnsEqual: returns.filter((fault) => fault === null).length,
    duplicated,
    faults,
  };
}

/** Where the data is not what it must be, at the leaves the task changes. */
function stateFaults(task: Task, state: Awaited<ReturnType<typeof stateOf>>): string[] {
  const wrong = task.expected.changes.flatMap(({ path, after }) => {
    const parts = path
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    // biome-ignore lint/suspicious/noExplicitAny: a pointer into any document
    const is = parts.reduce<any>((at, part) => at?.[part], state);
    return differences(is ?? null, inCents(after ?? null), 5, path);
  });
  return wrong.length > 0 ? wrong : ['the data differs where the task changes nothing'];
}
