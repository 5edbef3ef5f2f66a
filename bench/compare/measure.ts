import type { OnProgress } from '#deploy/dev/progress.ts';
import { CROWD } from '../crowd.ts';
import { randomOf, shuffled } from '../figures.ts';
import { storeOf } from '../history.ts';
import type { Stand } from '../stand.ts';
import { walNow } from '../wal.ts';
import { type DurableBytes, loggedSince } from './bytes.ts';
import { CONTENDERS, type Contender, type ContenderName } from './contenders.ts';
import type { CompareOptions } from './options.ts';
import { type Running, startPeer, startSteward } from './start.ts';

/** Turns of a run that is timed alone. */
export const TURNS = 100;
/** Several, and not in a row, so that a busy moment of the machine falls on few of them. */
const RUNS_PER_ROUND = 2;
const WARM_UP_TURNS = 30;
/** Characters. */
const LONGEST_REASON = 300;

/** What was measured of one contender. */
export interface MeasuredPeer {
  readonly contender: Contender;
  readonly version: string;
  readonly msPerTurn: readonly number[];
  readonly turnsPerSecond: readonly number[];
  readonly bytes: DurableBytes;
}

export interface Compared {
  readonly peers: readonly MeasuredPeer[];
  /** Why others have no figures. */
  readonly skipped: ReadonlyMap<ContenderName, string>;
  readonly temporal: { readonly store: string; readonly server: string };
  readonly postgres: string;
}

interface Measuring {
  readonly running: Running;
  readonly msPerTurn: number[];
  readonly turnsPerSecond: number[];
  bytes: DurableBytes;
}

/**
 * Starts every contender, then measures them one at a time, in another order every round, so that what the machine does
 * besides falls on all. A peer that does not start, or fails in a run, is left out with its reason; Steward must not.
 */
export async function compare(stand: Stand, options: CompareOptions, onProgress: OnProgress): Promise<Compared> {
  const skipped = new Map<ContenderName, string>();
  const measuring = new Map<ContenderName, Measuring>();
  const attempt = async (name: ContenderName, work: () => Promise<unknown>): Promise<void> => {
    if (skipped.has(name)) return;
    try {
      await work();
    } catch (error) {
      stand.signal.throwIfAborted();
      if (name === 'steward') throw error;
      const reason = (error instanceof Error ? error.message : String(error)).slice(0, LONGEST_REASON);
      onProgress(`${name} is left out: ${reason}`);
      skipped.set(name, reason);
      await measuring.get(name)?.running.stop();
    }
  };
  try {
    for (const contender of CONTENDERS.filter(({ name }) => options.only.includes(name))) {
      onProgress(`Starting ${contender.name}`);
      await attempt(contender.name, async () => {
        const running = await start(stand, contender);
        const bytes = { postgresLog: null, temporalHistory: 0, restateLog: 0 };
        measuring.set(contender.name, { running, msPerTurn: [], turnsPerSecond: [], bytes });
        await playChecked(running, WARM_UP_TURNS);
      });
    }
    const all = [...measuring];
    const random = randomOf(options.seed);
    for (let round = 1; round <= options.rounds; round += 1) {
      const jobs = all.flatMap(([name, each]) => [
        ...Array.from({ length: RUNS_PER_ROUND }, () => ({
          name,
          what: `a run of ${TURNS} turns`,
          work: () => timeRun(each),
        })),
        { name, what: `${CROWD} runs at once`, work: () => timeCrowd(each, options.crowdTurns) },
      ]);
      for (const { name, what, work } of shuffled(jobs, random)) {
        onProgress(`Round ${round} of ${options.rounds}: ${name}, ${what}`);
        await attempt(name, work);
      }
    }
    for (const [name, each] of all) {
      onProgress(`What a run of ${name} leaves behind`);
      await attempt(name, async () => {
        each.bytes = await countBytes(stand, each.running);
      });
    }
    return {
      peers: all
        .filter(([name]) => !skipped.has(name))
        .map(([, { running, ...figures }]) => ({
          contender: running.contender,
          version: running.version,
          ...figures,
        })),
      skipped,
      temporal: await storeOf(stand.temporal),
      postgres: (await stand.database.query<{ server_version: string }>('show server_version')).rows[0]
        ?.server_version as string,
    };
  } finally {
    for (const { running } of [...measuring.values()].toReversed()) await running.stop();
  }
}

function start(stand: Stand, contender: Contender): Promise<Running> {
  return contender.name === 'steward' ? startSteward(stand, contender) : startPeer(stand, contender, process.env);
}

async function playChecked(running: Running, turns: number): Promise<string> {
  const run = await running.play(turns);
  await running.assertDone(run, turns);
  return run;
}

/** From asking for the run to knowing that it has ended, by the benchmark's clock. */
async function timeRun({ running, msPerTurn }: Measuring): Promise<void> {
  const began = performance.now();
  const run = await running.play(TURNS);
  msPerTurn.push((performance.now() - began) / TURNS);
  await running.assertDone(run, TURNS);
}

async function timeCrowd({ running, turnsPerSecond }: Measuring, turns: number): Promise<void> {
  const began = performance.now();
  const runs = await Promise.all(Array.from({ length: CROWD }, () => running.play(turns)));
  turnsPerSecond.push((CROWD * turns) / ((performance.now() - began) / 1_000));
  for (const run of runs) await running.assertDone(run, turns);
}

async function countBytes(stand: Stand, running: Running): Promise<DurableBytes> {
  const place = await walNow(stand.database);
  const logged = await running.restateLog();
  const run = await playChecked(running, TURNS);
  return {
    postgresLog: place === null ? null : await loggedSince(stand.database, place, running.database),
    temporalHistory: await running.history(run),
    restateLog: (await running.restateLog()) - logged,
  };
}
