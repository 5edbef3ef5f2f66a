/**
 * Where the embedded default keeps things. One data directory per clone of the repository, so two clones on one
 * machine never meet, and one cache of binaries shared by all of them. Nothing is kept inside the repository.
 */

import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { StewardError } from '#domain/errors.ts';

/** The top folder of this clone. */
export const REPOSITORY = resolve(import.meta.dirname, '..', '..');

/** The places of one installation. All absolute; `preparePaths` creates them. */
export interface DevPaths {
  /** Everything this clone keeps between starts. STEWARD_HOME wins. */
  readonly home: string;
  /** Keys and tokens made at first start: directory 0700, files 0600. */
  readonly secrets: string;
  readonly logs: string;
  /** Records of the processes that were started, to find what a killed launcher left behind. */
  readonly run: string;
  readonly temporal: string;
  /** Holds Postgres's data directory and its superuser password. */
  readonly postgres: string;
  /** Binaries shared by all clones of this user. STEWARD_CACHE wins. */
  readonly cache: string;
  /** Postgres's own binaries: where the account that runs Postgres can reach them. */
  readonly postgresCache: string;
}

/** True where this process is root, which Postgres refuses to run as. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * The places that the environment and the repository's own path give. Pure but for resolving symbolic links.
 * STEWARD_HOME and STEWARD_CACHE win; a normal user gets the XDG state and cache directories; root gets /var/lib and
 * /var/cache, because an unprivileged account must reach them even where root's own home is closed.
 */
export async function resolvePaths(
  env: Readonly<Record<string, string | undefined>> = process.env,
  repository: string = REPOSITORY,
): Promise<DevPaths> {
  const key = cloneKey(await realpath(repository));
  const home = absolute(env, 'STEWARD_HOME') ?? defaultHome(env, key);
  const cache = absolute(env, 'STEWARD_CACHE');
  const userCache = join(absolute(env, 'XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'steward');
  return {
    home,
    secrets: join(home, 'secrets'),
    logs: join(home, 'logs'),
    run: join(home, 'run'),
    temporal: join(home, 'temporal'),
    postgres: join(home, 'postgres'),
    cache: cache ?? userCache,
    postgresCache: cache ?? (isRoot() ? '/var/cache/steward' : userCache),
  };
}

/** A name for a clone that is readable, stable, and differs between two clones: folder name and path hash. */
export function cloneKey(repository: string): string {
  const hash = createHash('sha256').update(repository).digest('hex').slice(0, 10);
  const name = basename(repository)
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .slice(0, 40);
  return `${name}-${hash}`;
}

/**
 * Creates the places with modes that keep other accounts out. Safe to repeat. As root, the data directory and the
 * Postgres folder may be passed through (0711), never listed or read; what is secret stays 0600 in 0700.
 *
 * @throws StewardError NOT_PERMITTED when a place cannot be made or belongs to somebody else.
 */
export async function preparePaths(paths: DevPaths): Promise<void> {
  const passable = isRoot() ? 0o711 : 0o700;
  await makeOwnDirectory(paths.home, passable);
  await makeOwnDirectory(paths.postgres, passable);
  for (const place of [paths.secrets, paths.logs, paths.run, paths.temporal]) await makeOwnDirectory(place, 0o700);
  await makeOwnDirectory(paths.cache, isRoot() && paths.cache === paths.postgresCache ? 0o755 : 0o700);
  if (paths.postgresCache !== paths.cache) await makeOwnDirectory(paths.postgresCache, 0o755);
}

async function makeOwnDirectory(path: string, mode: number): Promise<void> {
  try {
    await makeParents(dirname(path));
    await mkdir(path, { mode }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    const found = await lstat(path);
    const own = process.getuid === undefined || found.uid === process.getuid();
    if (!found.isDirectory() || !own) throw new Error('it is not a directory of this account');
    if ((found.mode & 0o777) !== mode) await chmod(path, mode);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StewardError(
      'NOT_PERMITTED',
      `Cannot use ${path}: ${why}. Set STEWARD_HOME (data) or STEWARD_CACHE (binaries) to directories that belong ` +
        'to this account.',
      { cause: error },
    );
  }
}

/** Parents that exist keep their mode; new ones must let the Postgres account through, whatever the umask. */
async function makeParents(parent: string): Promise<void> {
  const first = await mkdir(parent, { recursive: true, mode: isRoot() ? 0o755 : 0o700 });
  if (first === undefined || !isRoot()) return;
  for (let made = parent; made.startsWith(first); made = dirname(made)) await chmod(made, 0o755);
}

function defaultHome(env: Readonly<Record<string, string | undefined>>, key: string): string {
  if (isRoot()) return join('/var/lib/steward', key);
  return join(absolute(env, 'XDG_STATE_HOME') ?? join(homedir(), '.local', 'state'), 'steward', key);
}

function absolute(env: Readonly<Record<string, string | undefined>>, name: string): string | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : resolve(value);
}
