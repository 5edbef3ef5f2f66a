import { parseArgs } from 'node:util';
import { SABOTAGES, type Sabotage } from './points.ts';

/** What one suite does. */
export interface ChaosOptions {
  readonly runs: number;
  readonly kills: number;
  /** How many of the kills are of Postgres and of Temporal, in turn. */
  readonly servers: number;
  /** How far the processes' clocks are off, in milliseconds: the guard's ahead, a catalog's behind. */
  readonly skewMs: number;
  /** Share of the notifications of Postgres that get lost, from 0 to 1. */
  readonly drop: number;
  /** Calls that a catalog begins only after their caller has given up. */
  readonly late: number;
  /** Decides what is killed, where and when. */
  readonly seed: number;
  readonly sabotage: Sabotage | null;
  readonly json: boolean;
  /** How long the runs may take before those that are left count as stuck. */
  readonly minutes: number;
}

export const USAGE = `npm run chaos [-- options]

Kills the processes of a stack of its own while runs work on it, then counts their effects in the catalogs' own tables.

  --runs 20        runs at once (1 to 100); each is to bring about 12 effects
  --kills 20       processes that are killed (0 to 200)
  --servers N      how many of them are Postgres and Temporal, in turn; default: one in ten
  --late N         calls that a catalog begins only after their caller has given up; default: half as many as runs
  --skew 20        seconds by which clocks are off: the guard's ahead, a catalog's behind (0 to 120)
  --drop 50        percent of the notifications between processes that get lost (0 to 100)
  --seed N         repeats another suite's kills
  --sabotage WHAT  receipts: the catalogs forget what they did; resolve: a call that was cut off is taken for not done.
                   The suite then must find duplicates. patched: the next release changes workflows without a
                   patch; it then must find runs that do not fit
  --minutes 8      how long the runs may take (1 to 60)
  --json           only the figures on stdout
  --help           this text

Ends with 0 where every figure is what it must be, with 1 where one is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[], newSeed: () => number): ChaosOptions | null {
  const values = parse(args);
  if (values.help) return null;
  const runs = whole('--runs', values.runs, 1, 100);
  const kills = whole('--kills', values.kills, 0, 200);
  return {
    runs,
    kills,
    servers: values.servers === undefined ? Math.floor(kills / 10) : whole('--servers', values.servers, 0, kills),
    skewMs: whole('--skew', values.skew, 0, 120) * 1_000,
    drop: whole('--drop', values.drop, 0, 100) / 100,
    late: values.late === undefined ? Math.ceil(runs / 2) : whole('--late', values.late, 0, 100),
    seed: values.seed === undefined ? newSeed() : whole('--seed', values.seed, 0, 2 ** 32 - 1),
    sabotage: sabotageOf(values.sabotage),
    json: values.json,
    minutes: whole('--minutes', values.minutes, 1, 60),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        runs: { type: 'string', default: '20' },
        kills: { type: 'string', default: '20' },
        servers: { type: 'string' },
        late: { type: 'string' },
        skew: { type: 'string', default: '20' },
        drop: { type: 'string', default: '50' },
        seed: { type: 'string' },
        sabotage: { type: 'string' },
        minutes: { type: 'string', default: '8' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function sabotageOf(text: string | undefined): Sabotage | null {
  if (text === undefined) return null;
  const found = SABOTAGES.find((sabotage) => sabotage === text);
  if (found !== undefined) return found;
  throw new UsageError(`--sabotage takes ${SABOTAGES.join(', ')}, not "${text}".`);
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`${name} takes whole numbers from ${least} to ${most}, not "${text}".`);
}
