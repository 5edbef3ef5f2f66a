import type { OnProgress } from '#deploy/dev/progress.ts';
import { type MeasuredCancel, measureCancel } from './cancels.ts';
import { type Counted, countEach } from './counters.ts';
import { CROWD, measureCrowd } from './crowd.ts';
import { randomOf, shuffled } from './figures.ts';
import { fillDatabase } from './filler.ts';
import { storeOf } from './history.ts';
import { type MeasuredLoop, measureCommits, measureLoop } from './loops.ts';
import type { BenchOptions } from './options.ts';
import type { Stand } from './stand.ts';
import { type MeasuredRun, measureRun, playRun } from './turns.ts';

/** Everything that one benchmark has measured. */
export interface Measured {
  readonly temporal: { readonly store: string; readonly server: string };
  readonly postgres: string;
  readonly runs: readonly MeasuredRun[];
  /** By turns of the run. */
  readonly counted: ReadonlyMap<number, Counted>;
  readonly bare: readonly MeasuredLoop[];
  readonly floor: readonly MeasuredLoop[];
  readonly commits: readonly number[];
  readonly cancels: readonly MeasuredCancel[];
  /** With a model that takes its time. */
  readonly slow: { readonly runs: readonly MeasuredRun[]; readonly bare: readonly MeasuredLoop[] };
  /** Turns a second of fifty at once. */
  readonly crowds: { readonly runs: readonly number[]; readonly loops: readonly number[] };
}

/** What a slow model takes for an answer, in milliseconds. */
export const SLOW_MODEL_MS = 200;

/** The longest run that is measured in every round, and compared with loops as long as it. */
const LONGEST_REPEATED = 100;
/** Short and often, so that a busy moment of the machine falls on few of them. */
const LOOPS_PER_ROUND = 2;
const WARM_UP_TURNS = 30;
/** The run that the database is filled with, and how often. */
const COPIED_TURNS = 20;
const COPIES = 400;

/** What is measured, for people, and how. */
type Job = readonly [string, () => Promise<unknown>];

/**
 * Measures everything, one thing at a time: runs and loops in turn, in another order every round, so that what the
 * machine does besides falls on all of them; then what a run writes, with nothing else going on; then cancels.
 */
export async function measure(stand: Stand, options: BenchOptions, onProgress: OnProgress): Promise<Measured> {
  const random = randomOf(options.seed);
  const loopTurns = comparedTurns(options.turns);
  onProgress('Warming up');
  const first = await playRun(stand, COPIED_TURNS);
  if (stand.ownDatabase) await fillDatabase(stand.database, first, COPIES, stand.project);
  await measureRun(stand, WARM_UP_TURNS);
  await measureLoop(stand, 'bare', WARM_UP_TURNS);
  await measureLoop(stand, 'floor', WARM_UP_TURNS);

  const runs: MeasuredRun[] = [];
  const slow: { runs: MeasuredRun[]; bare: MeasuredLoop[] } = { runs: [], bare: [] };
  const crowds: { runs: number[]; loops: number[] } = { runs: [], loops: [] };
  const [bare, floor, commits]: [MeasuredLoop[], MeasuredLoop[], number[]] = [[], [], []];
  for (let round = 1; round <= options.rounds; round += 1) {
    const loops: readonly Job[] = [
      ['the bare loop', async () => bare.push(await measureLoop(stand, 'bare', loopTurns))],
      ['two activities that do nothing', async () => floor.push(await measureLoop(stand, 'floor', loopTurns))],
      ['two commits', async () => commits.push(await measureCommits(stand))],
    ];
    const jobs: readonly Job[] = [
      ...options.turns
        .filter((turns) => turns <= LONGEST_REPEATED)
        .map((turns): Job => [`a run of ${turns} turns`, async () => runs.push(await measureRun(stand, turns))]),
      ...Array.from({ length: LOOPS_PER_ROUND }, () => loops).flat(),
      ...slowJobs(stand, options.slowTurns, slow),
      ...crowdJobs(stand, options.crowdTurns, crowds),
    ];
    for (const [name, job] of shuffled(jobs, random)) {
      onProgress(`Round ${round} of ${options.rounds}: ${name}`);
      await job();
    }
  }

  onProgress('Counting what runs write; Postgres hands its counts over within ten seconds');
  const counted = await countEach(stand.database, stand.signal, options.turns, async (turns) => {
    onProgress(`Counting what a run of ${turns} turns writes`);
    const run = await measureRun(stand, turns);
    if (turns > LONGEST_REPEATED) runs.push(run);
  });
  return {
    temporal: await storeOf(stand.temporal),
    postgres: await postgresVersion(stand),
    runs,
    counted,
    bare,
    floor,
    commits,
    cancels: await measureCancels(stand, options, random, onProgress),
    slow,
    crowds,
  };
}

/** The length of the runs that are compared with loops of the same. */
export function comparedTurns(lengths: readonly number[]): number {
  const repeated = lengths.filter((turns) => turns <= LONGEST_REPEATED);
  return repeated.length > 0 ? Math.max(...repeated) : LONGEST_REPEATED;
}

function slowJobs(stand: Stand, turns: number, slow: { runs: MeasuredRun[]; bare: MeasuredLoop[] }): readonly Job[] {
  if (turns === 0) return [];
  const what = `of ${turns} turns with a model of ${SLOW_MODEL_MS} ms`;
  return [
    [`a run ${what}`, async () => slow.runs.push(await measureRun(stand, turns, SLOW_MODEL_MS))],
    [`a bare loop ${what}`, async () => slow.bare.push(await measureLoop(stand, 'bare', turns, SLOW_MODEL_MS))],
  ];
}

function crowdJobs(stand: Stand, turns: number, crowds: { runs: number[]; loops: number[] }): readonly Job[] {
  if (turns === 0) return [];
  const crowd = (of: 'runs' | 'loops') => async () => crowds[of].push(await measureCrowd(stand, of, turns));
  return [
    [`${CROWD} runs at once`, crowd('runs')],
    [`${CROWD} bare loops at once`, crowd('loops')],
  ];
}

async function measureCancels(
  stand: Stand,
  options: BenchOptions,
  random: () => number,
  onProgress: OnProgress,
): Promise<readonly MeasuredCancel[]> {
  const cancels: MeasuredCancel[] = [];
  for (let at = 0; at < options.cancels; at += 1) {
    const midst = at % 2 === 0 ? 'streaming' : 'tool';
    onProgress(`Cancel ${at + 1} of ${options.cancels}: ${midst === 'tool' ? 'within a tool' : 'while it streams'}`);
    cancels.push(await measureCancel(stand, midst, random));
  }
  const left = await stand.catalog.left();
  if (left > 0) throw new Error(`${left} cancelled calls took effect all the same.`);
  return cancels;
}

async function postgresVersion(stand: Stand): Promise<string> {
  const { rows } = await stand.database.query<{ server_version: string }>('show server_version');
  return rows[0]?.server_version ?? 'unknown';
}
