import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomOf } from '#bench/figures.ts';
import { type TestStack, testStack } from '#test/support/stack.ts';
import { auditOf } from './audit.ts';
import { count } from './count.ts';
import { gather } from './evidence.ts';
import type { ChaosOptions } from './options.ts';
import { type Around, approve, startRun, type Watched, watchAll } from './people.ts';
import { planOf } from './plan.ts';
import {
  CLOCK_VARIABLE,
  DROP_VARIABLE,
  DROPPED_FILE,
  FOLDER_VARIABLE,
  SABOTAGE_VARIABLE,
  SKEWS,
  TARGETS,
  type Target,
} from './points.ts';
import { type Control, openControl } from './probe.ts';
import { Progress } from './progress.ts';
import { readEvents, recoveriesOf } from './recovery.ts';
import { nextRelease, nonDeterminismOf } from './release.ts';
import type { Found } from './report.ts';
import { delay, strike } from './strike.ts';
import { type Pause, Supervisor } from './supervisor.ts';

/** The model takes so long before it answers, so that there is something to be killed in. */
const MODEL_MS = 150;
/** After the last run has closed, watchers get so long to hear of it. */
const LAST_WORDS_MS = 5_000;
const TOLD_MS = 5_000;

type Note = (line: string) => void;

/** Brings a stack up, plays the suite on it, and takes it down again, whatever happens. */
export async function playSuite(options: ChaosOptions, note: Note, signal: AbortSignal): Promise<Found> {
  const folder = await mkdtemp(join(tmpdir(), 'steward-chaos-'));
  try {
    const control = openControl(folder);
    const s = await chaosStack(options, folder, note, signal);
    try {
      return await onStack(s, control, options, note, signal);
    } finally {
      note('Taking everything down');
      await s.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function chaosStack(options: ChaosOptions, folder: string, note: Note, signal: AbortSignal): Promise<TestStack> {
  const env = (target: Target) => ({
    [FOLDER_VARIABLE]: folder,
    [SABOTAGE_VARIABLE]: options.sabotage ?? '',
    [CLOCK_VARIABLE]: String(SKEWS[target] * options.skewMs),
    [DROP_VARIABLE]: String(options.drop),
  });
  const entry = (target: string) => [target, `test/chaos/processes/${target}.ts`];
  return await testStack({
    onProgress: note,
    signal,
    entries: Object.fromEntries(TARGETS.map(entry)),
    serviceEnv: {
      ...Object.fromEntries(TARGETS.map((target) => [target, env(target)])),
      'offline-model': {
        OFFLINE_MODEL_SCRIPTS: join(import.meta.dirname, 'scripts'),
        OFFLINE_MODEL_DELAY_MS: String(MODEL_MS),
      },
    },
  });
}

async function onStack(
  s: TestStack,
  control: Control,
  options: ChaosOptions,
  note: Note,
  signal: AbortSignal,
): Promise<Found> {
  const began = Date.now();
  const agent = await s.applyAgent({
    name: 'chaos',
    script: 'chaos',
    budget: '$50',
    limits: { model_calls: 100, tool_calls: 200, tokens: 50_000_000 },
    waits: { approval: '30m' },
  });
  const supervisor = new Supervisor(s.stack, control, note);
  const ended = new AbortController();
  const over = AbortSignal.any([signal, ended.signal, AbortSignal.timeout(options.minutes * 60_000)]);
  const progress = new Progress(s, options.runs, over);
  const around: Around = { s, agent, seed: options.seed, progress, over };
  const plan = planOf(options, randomOf(options.seed));
  const watched = new Map<string, Watched>();
  const release = await nextRelease(control.folder, { patched: options.sabotage !== 'patched' });
  const on = { plan, control, supervisor, progress, note, release };
  const told = setInterval(
    () => note(`${progress.closed} of ${progress.runs} runs closed, ${progress.done} effects`),
    TOLD_MS,
  );
  const work = Promise.all([
    ...plan.starts.map((at, number) => startRun(around, number, at)),
    approve(around),
    watchAll(around, watched),
    strike(on),
    delay(on),
  ]);
  try {
    await Promise.race([progress.untilClosed(), work, supervisor.failed]);
    if (!over.aborted) await heard(watched, options.runs);
  } finally {
    clearInterval(told);
    ended.abort();
    await supervisor.stop();
    await work.catch(() => undefined);
  }
  signal.throwIfAborted();
  const evidence = await gather(s, options.seed);
  const audit = await auditOf(s, options.seed);
  const pauses = [
    ...supervisor.kills.filter(({ target }) => target === 'worker'),
    // Whatever these leave waiting is counted from when they are back; of their own they leave nothing.
    ...supervisor.kills.filter(({ target }) => target === 'postgres' || target === 'temporal').map(unaware),
    ...supervisor.rolls,
  ].sort((a, b) => a.at - b.at);
  return {
    options,
    count: count(evidence, options.seed, options.runs),
    audit,
    kills: supervisor.kills,
    notes: control.notes(),
    recoveries: recoveriesOf(pauses, await readEvents(s)),
    watched: [...watched.values()],
    crashes: supervisor.crashes,
    rolls: supervisor.rolls.length,
    nonDeterminism: await nonDeterminismOf(s, progress.ids),
    dropped: existsSync(join(control.folder, DROPPED_FILE)) ? statSync(join(control.folder, DROPPED_FILE)).size : 0,
    mailsRepeated: evidence.mailsRepeated,
    seconds: Math.round((Date.now() - began) / 1_000),
  };
}

function unaware({ at, readyAt }: Pause): Pause {
  return { at, readyAt, work: [] };
}

/** Gives watchers the time to see the last events. */
async function heard(watched: ReadonlyMap<string, Watched>, runs: number): Promise<void> {
  const all = () => watched.size >= runs && [...watched.values()].every(({ closed }) => closed);
  for (const end = Date.now() + LAST_WORDS_MS; Date.now() < end && !all(); ) await sleep(50);
}
