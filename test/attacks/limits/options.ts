import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

/** What one suite does. */
export interface LimitsOptions {
  /** Runs that race for one window. */
  readonly runs: number;
  readonly seed: number;
  readonly sabotage: 'windows' | null;
  readonly json: boolean;
}

export const USAGE = `npm run attack:limits [-- options]

Races runs for every kind of window (run, user, agent, tenant; hour and day) against a real guard on a real Postgres, and
carries out at a real catalog whatever the guard lets begin. What the catalog has then done in all is held against the
limit.

  --runs N         runs that race for one window (24)
  --seed N         of the amounts; printed
  --sabotage WHAT  windows: what is reserved is forgotten at once. The suite then must find limits overshot
  --json           only the figures on stdout
  --help           this text

Ends with 0 where all is as it must be, with 1 where something is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): LimitsOptions | null {
  const { help, json, sabotage, runs, seed } = parse(args);
  if (help) return null;
  if (sabotage !== undefined && sabotage !== 'windows') {
    throw new UsageError(`--sabotage takes windows, not "${sabotage}".`);
  }
  return {
    json,
    sabotage: sabotage ?? null,
    runs: whole('runs', runs, 2, 200),
    seed: seed === undefined ? randomInt(2 ** 31) : whole('seed', seed, 0, 2 ** 31),
  };
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`--${name} takes a whole number from ${least} to ${most}, not "${text}".`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        runs: { type: 'string', default: '24' },
        seed: { type: 'string' },
        sabotage: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
