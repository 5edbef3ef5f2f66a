import { parseArgs } from 'node:util';

/** What one benchmark measures. */
export interface BenchOptions {
  readonly json: boolean;
  /** Lengths of Steward's runs, ascending. Ones above a hundred are played once. */
  readonly turns: readonly number[];
  /** Runs that are cancelled, half within a stream, half within a tool. */
  readonly cancels: number;
  /** Times each loop is measured; medians are reported. */
  readonly rounds: number;
  /** Turns of each run where fifty are under way at once; 0 leaves that out. */
  readonly crowdTurns: number;
  /** Turns of a run and of a bare loop with a slow model; 0 leaves that out. */
  readonly slowTurns: number;
  /** Decides the order within a round and the moments of the cancels. */
  readonly seed: number;
}

export const USAGE = `npm run bench [-- options]

Measures what a turn costs on a stack of its own, brought up for this and taken down again.

  --json           the last line of stdout is one JSON object
  --turns 10,100,1000  lengths of Steward's runs (1 to 1000 turns, at most 5 of them; once each above 100)
  --cancels 20         runs that are cancelled while they stream or call a tool (0 to 200)
  --rounds 3           times each loop is measured (1 to 20)
  --crowd 10           turns of each of 50 runs at once (0 to 100; 0: not measured)
  --slow 20            turns with a model that takes 200 ms (0 to 100; 0: not measured)
  --seed N             repeats the order and the moments of another run
  --quick              --turns 10,100 --cancels 6 --rounds 1 --crowd 3 --slow 8, unless said otherwise
  --help               this text

TEMPORAL_ADDRESS and DATABASE_URL name servers to use in place of the embedded ones. Give it servers that nothing else
works on: it sets the passwords of Steward's roles and takes runs from its task queues.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[], newSeed: () => number): BenchOptions | null {
  const values = parse(args);
  if (values.help) return null;
  const [turnsText, cancels, rounds, crowd, slow] = values.quick
    ? ['10,100', '6', '1', '3', '8']
    : ['10,100,1000', '20', '3', '10', '20'];
  const turns = (values.turns ?? turnsText).split(',').map((text) => whole('--turns', text, 1, 1_000));
  const distinct = [...new Set(turns)].sort((a, b) => a - b);
  if (distinct.length > 5) throw new UsageError('--turns takes at most 5 lengths.');
  return {
    json: values.json,
    turns: distinct,
    cancels: whole('--cancels', values.cancels ?? cancels, 0, 200),
    rounds: whole('--rounds', values.rounds ?? rounds, 1, 20),
    crowdTurns: whole('--crowd', values.crowd ?? crowd, 0, 100),
    slowTurns: whole('--slow', values.slow ?? slow, 0, 100),
    seed: values.seed === undefined ? newSeed() : whole('--seed', values.seed, 0, 2 ** 32 - 1),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        json: { type: 'boolean', default: false },
        turns: { type: 'string' },
        crowd: { type: 'string' },
        slow: { type: 'string' },
        cancels: { type: 'string' },
        rounds: { type: 'string' },
        seed: { type: 'string' },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** A whole number in these limits. Throws UsageError naming the option. */
export function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`${name} takes whole numbers from ${least} to ${most}, not "${text}".`);
}
