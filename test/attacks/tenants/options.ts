import { parseArgs } from 'node:util';

/** What one suite does. */
export interface TenantsOptions {
  readonly sabotage: 'rls' | null;
  readonly json: boolean;
}

export const USAGE = `npm run attack:tenants [-- options]

Brings up a Steward with two tenants and tries every RPC of every service, every tool of every catalog and every table of
the database on one tenant's things: as the other tenant with all its roles, as a user of the same tenant who has no
rights to them, and with no tenant. What is tried is generated from the protos, the tool descriptors and the database's
own catalogue. A leak is an answer, or an error, that holds something of the victim's, or a row of the victim's that has
changed.

  --sabotage WHAT  rls: row-level security is off. The suite then must find leaks
  --json           only the figures on stdout
  --help           this text

Ends with 0 where all is as it must be, with 1 where something is not, with 2 where the arguments are wrong.`;

/** Something is wrong with the arguments. */
export class UsageError extends Error {}

/** Reads the arguments; null where help was asked for. Throws UsageError saying what to write instead. */
export function readOptions(args: readonly string[]): TenantsOptions | null {
  const { help, json, sabotage } = parse(args);
  if (help) return null;
  if (sabotage !== undefined && sabotage !== 'rls') throw new UsageError(`--sabotage takes rls, not "${sabotage}".`);
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
