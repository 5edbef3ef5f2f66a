import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { migrateCatalog } from '#catalog-kit/migrate.ts';
import { serveCatalog } from '#catalog-kit/serve.ts';
import { urlFor } from '#deploy/dev/schema.ts';
import { catalogAudience, DEV_ISSUER } from '#deploy/dev/secrets.ts';
import type { Stack } from '#deploy/dev/stack.ts';
import { connect } from '#platform/database/connect.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import { type Held, holdTool } from './hold.ts';

/** The catalog's name, and its schema. */
export const BENCH_CATALOG = 'bench';
export const CATALOG_SCHEMA = 'bench';

const GRACE_MS = 2_000;

/** The benchmark's own catalog, served within this process, so that its clock is the caller's. */
export interface BenchCatalog {
  /** The call of `hold` that a run makes. */
  callOf(run: string): Held;
  /** Rows that calls of `hold` have left: none, where every one was cancelled. */
  left(): Promise<number>;
  close(): Promise<void>;
}

/** Brings its schema up to date and serves it at `listen`. */
export async function serveBenchCatalog(stack: Stack, listen: string): Promise<BenchCatalog> {
  const directory = join(import.meta.dirname, 'migrations');
  await migrateCatalog({ url: stack.databaseUrl, schema: CATALOG_SCHEMA, directory });
  const role = `steward_${CATALOG_SCHEMA}`;
  const password = randomBytes(24).toString('hex');
  await asOwner(stack.databaseUrl, (client) => client.query(`alter role ${role} login password '${password}'`));
  const { db, close } = connect(urlFor(stack.databaseUrl, role, password), { schema: CATALOG_SCHEMA, name: role });
  const { tool, callOf } = holdTool();
  const { tokens, runGrants, guard } = stack.secrets;
  const quiet = {
    debug() {},
    info() {},
    warn() {},
    error: (fields: object, message: string) => console.error(message, fields),
  };
  // What Steward's processes show this catalog, as the launcher makes it for its own.
  const claims = { issuer: DEV_ISSUER, audience: catalogAudience(BENCH_CATALOG), tenant: '', subject: 'steward' };
  const token = await mintToken(tokens.privateJwk, { ...claims, roles: ['worker'] }, 3_600);
  await writeFile(join(stack.secrets.catalogTokenDirectory, `${BENCH_CATALOG}.token`), token, { mode: 0o600 });
  const server = await serveCatalog({
    name: BENCH_CATALOG,
    tools: [tool],
    db,
    listen,
    identity: {
      issuer: DEV_ISSUER,
      audience: catalogAudience(BENCH_CATALOG),
      jwks: tokens.jwksPath,
      runGrantJwks: runGrants.jwksPath,
      executionGrantJwks: guard.jwksPath,
    },
    log: quiet,
  });
  return {
    callOf,
    left: () =>
      asOwner(stack.databaseUrl, async (client) => {
        const { rows } = await client.query(`select count(*)::int as n from ${CATALOG_SCHEMA}.held`);
        return (rows[0] as { n: number }).n;
      }),
    async close() {
      await server.stop(GRACE_MS);
      await close();
    },
  };
}

async function asOwner<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000, statement_timeout: 10_000 });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
