import { parseArgs } from 'node:util';
import { FAULTS } from './faults.ts';

/** What one suite does. */
export interface FaultOptions {
  /** Names of faults; empty: all. */
  readonly faults: readonly string[];
  /** Milliseconds a fault holds. */
  readonly holdMs: number;
  readonly sabotage: 'closed' | null;
  readonly json: boolean;
}

export const USAGE = `npm run attack:fault [-- options]

Takes away, or makes lie, one thing after the other that Steward decides by: ledger, guard, the guard's database, kill
switch, catalogs, keys. While it is so, runs are begun and a call that was approved before is let go on. None of it may
have an effect, and no model may be asked that the ledger has not reserved for. Afterwards everything must go on.

  --faults A,B     only these: ${FAULTS.map(({ name }) => name).join(', ')}
  --hold MS        how long each holds (3000)
  --sabotage WHAT  closed: a guard that lets pass what it cannot read about. The suite then must find effects
  --json           only the figures on stdout
  --help           this text

Ends with 0 where all is as it must be, with 1 where something is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): FaultOptions | null {
  const { help, json, sabotage, faults, hold } = parse(args);
  if (help) return null;
  if (sabotage !== undefined && sabotage !== 'closed') {
    throw new UsageError(`--sabotage takes closed, not "${sabotage}".`);
  }
  const names = (faults ?? '').split(',').filter((name) => name !== '');
  const known = FAULTS.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new UsageError(`There is no fault "${unknown}". There are: ${known.join(', ')}.`);
  const holdMs = Number(hold);
  if (!(Number.isInteger(holdMs) && holdMs >= 500 && holdMs <= 60_000)) {
    throw new UsageError(`--hold takes 500 to 60000 milliseconds, not "${hold}".`);
  }
  return { json, sabotage: sabotage ?? null, faults: names, holdMs };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        sabotage: { type: 'string' },
        faults: { type: 'string' },
        hold: { type: 'string', default: '3000' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
