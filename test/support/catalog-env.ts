import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CatalogIdentity } from '#catalog-kit/serve.ts';

/** The environment a catalog's process reads, trusting `identity`; its key sets are files that `remove` takes away. */
export async function catalogEnv(identity: CatalogIdentity, databaseUrl: string) {
  const directory = await mkdtemp(join(tmpdir(), 'steward-catalog-'));
  const keys = async (name: string, source: unknown): Promise<string> => {
    const path = join(directory, `${name}.jwks.json`);
    await writeFile(path, JSON.stringify(source));
    return path;
  };
  return {
    env: {
      DATABASE_URL: databaseUrl,
      STEWARD_AUTH_ISSUER: identity.issuer,
      STEWARD_AUTH_AUDIENCE: identity.audience,
      STEWARD_AUTH_JWKS: await keys('auth', identity.jwks),
      STEWARD_RUN_GRANT_JWKS: await keys('run-api', identity.runGrantJwks),
      STEWARD_EXECUTION_GRANT_JWKS: await keys('guard', identity.executionGrantJwks),
      STEWARD_LOG_LEVEL: 'silent',
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
