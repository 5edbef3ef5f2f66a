import type { OnProgress } from '#deploy/dev/progress.ts';
import { type MeasuredCancel, measureCancel } from './cancels.ts';
import { type Counted, countEach } from './counters.ts';
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
}

/** Turns of the loops that Steward is compared with: as long as its longest run, and no longer than this. */
const LONGEST_LOOP = 50;
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
  const loopTurns = Math.min(LONGEST_LOOP, Math.max(...options.turns));
  onProgress('Warming up');
  const first = await playRun(stand, COPIED_TURNS);
  if (stand.ownDatabase) await fillDatabase(stand.database, first, COPIES, stand.project);
  await measureRun(stand, WARM_UP_TURNS);
  await measureLoop(stand, 'bare', WARM_UP_TURNS);
  await measureLoop(stand, 'floor', WARM_UP_TURNS);

  const runs: MeasuredRun[] = [];
  const [bare, floor, commits]: [MeasuredLoop[], MeasuredLoop[], number[]] = [[], [], []];
  for (let round = 1; round <= options.rounds; round += 1) {
    const loops: readonly Job[] = [
      ['the bare loop', async () => bare.push(await measureLoop(stand, 'bare', loopTurns))],
      ['two activities that do nothing', async () => floor.push(await measureLoop(stand, 'floor', loopTurns))],
      ['two commits', async () => commits.push(await measureCommits(stand))],
    ];
    const jobs: readonly Job[] = [
      ...options.turns.map(
        (turns): Job => [`a run of ${turns} turns`, async () => runs.push(await measureRun(stand, turns))],
      ),
      ...Array.from({ length: LOOPS_PER_ROUND }, () => loops).flat(),
    ];
    for (const [name, job] of shuffled(jobs, random)) {
      onProgress(`Round ${round} of ${options.rounds}: ${name}`);
      await job();
    }
  }

  onProgress('Counting what runs write; Postgres hands its counts over within ten seconds');
  const counted = await countEach(stand.database, stand.signal, options.turns, (turns) => {
    onProgress(`Counting what a run of ${turns} turns writes`);
    return playRun(stand, turns);
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
  };
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
