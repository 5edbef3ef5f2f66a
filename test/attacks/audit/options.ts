import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

/** What one suite does. */
export interface AuditOptions {
  /** Processes killed in the part with crashes. */
  readonly kills: number;
  /** Calls that come to an end meanwhile. */
  readonly calls: number;
  /** Length of the chain whose verification is timed. */
  readonly entries: number;
  readonly seed: number;
  readonly sabotage: 'chain' | 'anchor' | null;
  readonly json: boolean;
}

export const USAGE = `npm run attack:audit [-- options]

Tampers with the audit log as the database's superuser, in seven ways, each on a chain of its own with signed anchors, and
looks whether the verifier finds it and calls it by its name. Then kills processes that write and seal entries, and counts
effects without an entry and entries that are never sealed. Last, times the verification of a long chain.

  --kills N        processes killed (12)
  --calls N        calls that end meanwhile (1500)
  --entries N      length of the chain that is timed (50000); the figure is scaled to a million
  --seed N         repeats the places that were attacked
  --sabotage WHAT  chain: entries are not linked. anchor: the verifier has no anchors. Something must then be missed
  --json           only the figures on stdout
  --help           this text

Ends with 0 where all is as it must be, with 1 where something is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): AuditOptions | null {
  const given = parse(args);
  if (given.help) return null;
  const { sabotage } = given;
  if (sabotage !== undefined && sabotage !== 'chain' && sabotage !== 'anchor') {
    throw new UsageError(`--sabotage takes chain or anchor, not "${sabotage}".`);
  }
  return {
    json: given.json,
    sabotage: sabotage ?? null,
    kills: whole('kills', given.kills, 0, 1_000),
    calls: whole('calls', given.calls, 1, 100_000),
    entries: whole('entries', given.entries, 100, 1_000_000),
    seed: given.seed === undefined ? randomInt(2 ** 31) : whole('seed', given.seed, 0, 2 ** 31),
  };
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`--${name} takes ${least} to ${most}, not "${text}".`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        sabotage: { type: 'string' },
        kills: { type: 'string', default: '12' },
        calls: { type: 'string', default: '1500' },
        entries: { type: 'string', default: '50000' },
        seed: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
