import { parseArgs } from 'node:util';

/** What one suite does. */
export interface BudgetOptions {
  /** At once, on each ledger. */
  readonly runs: number;
  readonly turns: number;
  /** Processes that are killed between a call and its settlement, on each ledger. */
  readonly kills: number;
  readonly seed: number;
  readonly sabotage: 'reservation' | null;
  readonly json: boolean;
}

export const USAGE = `npm run attack:budget [-- options]

Races runs on a ledger of a real Postgres through the worker's own store, once for each level of the budget tree with
that level as the tight one: run, user, tenant, product. Attempts of one turn race each other, usage goes above what was
reserved, calls fail in every way, and processes are killed between a call and its settlement. Every movement is logged by
triggers and replayed apart from the ledger's own sums.

  --runs 64        runs at once (2 to 500)
  --turns 4        turns of each (1 to 50)
  --kills 6        processes killed between a call and its settlement, on each ledger (0 to 100)
  --seed N         repeats another suite's choices
  --sabotage WHAT  reservation: calls are reserved for without a lock and without a look at what is left. The suite then
                   must find admissions past the limit
  --json           only the figures on stdout
  --help           this text

Ends with 0 where every figure is what it must be, with 1 where one is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[], newSeed: () => number): BudgetOptions | null {
  const values = parse(args);
  if (values.help) return null;
  const { sabotage } = values;
  if (sabotage !== undefined && sabotage !== 'reservation') {
    throw new UsageError(`--sabotage takes reservation, not "${sabotage}".`);
  }
  return {
    runs: whole('--runs', values.runs, 2, 500),
    turns: whole('--turns', values.turns, 1, 50),
    kills: whole('--kills', values.kills, 0, 100),
    seed: values.seed === undefined ? newSeed() : whole('--seed', values.seed, 0, 2 ** 32 - 1),
    sabotage: sabotage ?? null,
    json: values.json,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        runs: { type: 'string', default: '64' },
        turns: { type: 'string', default: '4' },
        kills: { type: 'string', default: '6' },
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

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`${name} takes whole numbers from ${least} to ${most}, not "${text}".`);
}
