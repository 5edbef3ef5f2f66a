import { parseArgs } from 'node:util';

export type Sabotage = 'push' | 'guard';

/** What one drill does. */
export interface DrillOptions {
  readonly runs: number;
  readonly seed: number;
  readonly sabotage: Sabotage | null;
  readonly json: boolean;
}

export const USAGE = `npm run drill [-- options]

Brings up a whole Steward with live runs in every phase: an answer being streamed, a tool call in flight, an approval
asked for, a provider that asks to wait, a pause, the queue, and runs that act all the time. Then kills one tool, pauses
one agent and kills the product, and measures when the last effect of each was committed, by the catalogs' own receipts.

  --runs N         live runs, 16 or more (40)
  --seed N         picks the order in which they are started (a random one)
  --sabotage WHAT  push: workers are neither told nor look; guard: the guard sees no switch. The drill then must find
                   effects after the stop, or runs that did not stop
  --json           only the figures on stdout
  --help           this text

Ends with 0 where all is as it must be, with 1 where something is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): DrillOptions | null {
  const { help, json, sabotage, runs, seed } = parse(args);
  if (help) return null;
  if (sabotage !== undefined && sabotage !== 'push' && sabotage !== 'guard') {
    throw new UsageError(`--sabotage takes push or guard, not "${sabotage}".`);
  }
  return {
    runs: whole('--runs', runs, 16, 200),
    seed: whole('--seed', seed ?? String(Math.floor(Math.random() * 1_000_000)), 0, 1_000_000_000),
    sabotage: sabotage ?? null,
    json,
  };
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`${name} takes a whole number from ${min} to ${max}, not "${text}".`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        runs: { type: 'string', default: '40' },
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
