/** The demo's data: projects, orders and the domains mail may go to, put back as they were at every start. */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { REPOSITORY } from './paths.ts';
import { DEV_TENANT } from './schema.ts';
import type { Stack } from './stack.ts';

const SEED_MS = 30_000;

/** Runs each catalog's own seed against its schema. Throws with what the seed said. */
export async function seedDemo(stack: Pick<Stack, 'databaseUrl'>, tenant: string = DEV_TENANT): Promise<void> {
  for (const catalog of ['projects', 'orders', 'messaging']) {
    await promisify(execFile)(
      process.execPath,
      [join(REPOSITORY, `services/catalogs/${catalog}/seed.ts`), '--tenant', tenant, '--reset'],
      { env: { ...process.env, DATABASE_URL: stack.databaseUrl }, timeout: SEED_MS },
    );
  }
}
