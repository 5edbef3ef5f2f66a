import { parseArgs } from 'node:util';
import { UsageError, whole } from '../options.ts';
import { type ContenderName, NAMES } from './contenders.ts';

/** What one comparison measures. */
export interface CompareOptions {
  readonly json: boolean;
  readonly only: readonly ContenderName[];
  /** Times each is measured; medians are reported. */
  readonly rounds: number;
  /** Turns of each run where fifty are under way at once. */
  readonly crowdTurns: number;
  /** Decides the order within a round. */
  readonly seed: number;
}

export const USAGE = `npm run bench:peers [-- options]

The same agent on Steward and on other durable runtimes, in turn, on one stack brought up for this. Installs bench/peers
first, where that is not done.

  --json           the last line of stdout is one JSON object
  --only a,b       of ${NAMES.join(', ')}; Steward is always among them
  --rounds 3       times each is measured (1 to 20)
  --crowd 10       turns of each of 50 runs at once (1 to 100)
  --seed N         repeats the order of another run
  --quick          --rounds 1 --crowd 3, unless said otherwise
  --help           this text

TEMPORAL_ADDRESS and DATABASE_URL name servers to use in place of the embedded ones, as for npm run bench; databases named
bench_peer_… are made in that Postgres and dropped again.`;

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[], newSeed: () => number): CompareOptions | null {
  const values = parse(args);
  if (values.help) return null;
  const [rounds, crowd] = values.quick ? ['1', '3'] : ['3', '10'];
  const asked = values.only === undefined ? NAMES : values.only.split(',');
  const unknown = asked.find((name) => !NAMES.some((known) => known === name));
  if (unknown !== undefined) throw new UsageError(`--only takes ${NAMES.join(', ')}, not "${unknown}".`);
  return {
    json: values.json,
    only: NAMES.filter((name) => name === 'steward' || asked.includes(name)),
    rounds: whole('--rounds', values.rounds ?? rounds, 1, 20),
    crowdTurns: whole('--crowd', values.crowd ?? crowd, 1, 100),
    seed: values.seed === undefined ? newSeed() : whole('--seed', values.seed, 0, 2 ** 32 - 1),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        json: { type: 'boolean', default: false },
        only: { type: 'string' },
        rounds: { type: 'string' },
        crowd: { type: 'string' },
        seed: { type: 'string' },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
