import { parseArgs } from 'node:util';

/** What one suite does. */
export interface ProvidersOptions {
  readonly sabotage: 'fallback' | null;
  readonly json: boolean;
}

export const USAGE = `npm run providers [-- options]

Plays the contract of the model adapters against both of them, through their real SDKs, and then runs on a stack of its
own whose first model fails: they must go over to their agent's fallback and back, and cost what was asked.

  --sabotage WHAT  fallback: agents name none. The suite then must find runs that fail
  --json           only the figures on stdout
  --help           this text

Ends with 0 where all is as it must be, with 1 where something is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): ProvidersOptions | null {
  const { help, json, sabotage } = parse(args);
  if (help) return null;
  if (sabotage !== undefined && sabotage !== 'fallback') {
    throw new UsageError(`--sabotage takes fallback, not "${sabotage}".`);
  }
  return { json, sabotage: sabotage ?? null };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        sabotage: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
