/** Keys, passwords and tokens of the embedded default: made at first start, kept where only their owner reads. */

import { randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createKeyPair, type KeyPair } from '#platform/identity/key-pair.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import { TOKEN_KEY } from './environment.ts';
import type { DevPaths } from './paths.ts';

/** `iss` and `aud` of the tokens that the embedded default makes and accepts. */
export const DEV_ISSUER = 'steward-dev';
export const DEV_AUDIENCE = 'steward';

/** The catalogs of the embedded default. */
export const CATALOGS = ['projects', 'orders', 'messaging'] as const;

/** `aud` of the tokens that one catalog accepts: nobody else does, so a catalog can do nothing with what it is shown. */
export function catalogAudience(catalog: string): string {
  return `steward-catalog/${catalog}`;
}

/** The database role of each process that has one. */
export const ROLES = {
  'run-api': 'steward_run_api',
  guard: 'steward_guard',
  worker: 'steward_worker',
  projects: 'steward_projects',
  orders: 'steward_orders',
  messaging: 'steward_messaging',
} as const;

const SERVICE_TOKEN_S = 24 * 60 * 60;
const RENEW_MS = 6 * 60 * 60 * 1000;

export interface DevSecrets {
  /** Signs local bearer tokens. */
  readonly tokens: KeyPair;
  /** Signs run grants; run-api's alone. */
  readonly runGrants: KeyPair;
  /** Signs execution grants and decisions; the guard's alone. */
  readonly guard: KeyPair;
  /** Signs heads of the audit log; the worker's alone. */
  readonly audit: KeyPair;
  /** Passwords by database role. */
  readonly passwords: Readonly<Record<string, string>>;
  /** Bearer token with role `worker` of Steward's own processes, renewed while the launcher runs. */
  readonly serviceTokenFile: string;
  /** Directory of `<catalog>.token`: the same processes' tokens towards each catalog, good there alone. */
  readonly catalogTokenDirectory: string;
  /** Stops renewing. */
  close(): void;
}

/** Makes what is missing and starts renewing the service token. */
export async function openSecrets(paths: DevPaths): Promise<DevSecrets> {
  const [tokens, runGrants, guard, audit] = await Promise.all([
    createKeyPair(paths.secrets, TOKEN_KEY),
    createKeyPair(paths.secrets, 'run-grants'),
    createKeyPair(paths.secrets, 'guard'),
    createKeyPair(paths.secrets, 'audit'),
  ]);
  const passwords = await keptPasswords(join(paths.secrets, 'database-roles.json'));
  const serviceTokenFile = join(paths.secrets, 'service.token');
  const catalogTokenDirectory = join(paths.secrets, 'catalog-tokens');
  await mkdir(catalogTokenDirectory, { recursive: true, mode: 0o700 });
  const write = async (file: string, audience: string) => {
    const claims = { issuer: DEV_ISSUER, audience, tenant: '', subject: 'steward', roles: ['worker'] as const };
    const token = await mintToken(tokens.privateJwk, claims, SERVICE_TOKEN_S);
    const draft = `${file}.${randomUUID()}`;
    await writeFile(draft, token, { mode: 0o600 });
    await rename(draft, file);
  };
  const renew = async () => {
    await write(serviceTokenFile, DEV_AUDIENCE);
    for (const catalog of CATALOGS)
      await write(join(catalogTokenDirectory, `${catalog}.token`), catalogAudience(catalog));
  };
  await renew();
  const timer = setInterval(() => void renew().catch(() => undefined), RENEW_MS);
  timer.unref();
  return {
    tokens,
    runGrants,
    guard,
    audit,
    passwords,
    serviceTokenFile,
    catalogTokenDirectory,
    close: () => clearInterval(timer),
  };
}

async function keptPasswords(file: string): Promise<Record<string, string>> {
  const fresh = Object.fromEntries(Object.values(ROLES).map((role) => [role, randomBytes(24).toString('hex')]));
  const draft = `${file}.${randomUUID()}`;
  await writeFile(draft, JSON.stringify(fresh), { mode: 0o600 });
  // The first writer wins, whoever else starts at the same time.
  await link(draft, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await rm(draft);
  return { ...fresh, ...(JSON.parse(await readFile(file, 'utf8')) as Record<string, string>) };
}
