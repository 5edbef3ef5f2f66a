import { parseArgs } from 'node:util';

/** What one suite does. */
export interface RetailOptions {
  /** Processes killed on the way; 0 without --chaos. */
  readonly kills: number;
  /** Tasks played: the first ones. */
  readonly tasks: number;
  /** Runs at once. */
  readonly parallel: number;
  readonly sabotage: 'receipts' | null;
  readonly json: boolean;
  readonly minutes: number;
}

export const USAGE = `npm run retail [-- options]

Plays recorded customer requests as durable runs, each on a fresh copy of the recorded shop, and compares every value
that a tool returned and the data afterwards with what was recorded. The data is looked for in RETAIL_DATA, else in
shared/data/retail beside the repository; without it, nothing is played.

  --chaos          kills processes meanwhile; everything must come out the same
  --kills 20       how many, with --chaos (1 to 200)
  --tasks N        the first N tasks only
  --parallel 8     runs at once (1 to 32)
  --sabotage WHAT  receipts: the catalog forgets what it did. With --chaos the suite then must find duplicates
  --minutes 10     how long it may take (1 to 60)
  --json           only the figures on stdout
  --help           this text

Ends with 0 where everything is equal or the data is not there, with 1 where something is not, with 2 where the arguments
are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): RetailOptions | null {
  const values = parse(args);
  if (values.help) return null;
  if (values.sabotage !== undefined && values.sabotage !== 'receipts') {
    throw new UsageError(`--sabotage takes receipts, not "${values.sabotage}".`);
  }
  if (values.sabotage !== undefined && !values.chaos) throw new UsageError('--sabotage shows nothing without --chaos.');
  return {
    kills: values.chaos ? whole('--kills', values.kills, 1, 200) : 0,
    tasks: whole('--tasks', values.tasks, 1, 1_000),
    parallel: whole('--parallel', values.parallel, 1, 32),
    sabotage: values.sabotage ?? null,
    json: values.json,
    minutes: whole('--minutes', values.minutes, 1, 60),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        chaos: { type: 'boolean', default: false },
        kills: { type: 'string', default: '20' },
        tasks: { type: 'string', default: '1000' },
        parallel: { type: 'string', default: '8' },
        sabotage: { type: 'string' },
        minutes: { type: 'string', default: '10' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`${name} takes whole numbers from ${least} to ${most}, not "${text}".`);
}
