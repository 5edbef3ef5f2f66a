/**
 * Finds the program that runs the development Temporal, in a fixed order: on the PATH, in the cache, by the download
 * the SDK's testing package knows, by building the CLI's Go module. What was downloaded or built is kept in the cache.
 */

import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { isStewardError, StewardError } from '#domain/errors.ts';
import { acquireLock } from './lock.ts';
import type { DevPaths } from './paths.ts';
import { type OnProgress, withProgress } from './progress.ts';
import { buildTemporal, GO_NEEDED } from './temporal-build.ts';
import type { TemporalDev } from './temporal-config.ts';
import { downloadTemporal } from './temporal-download.ts';

const VERSION_MS = 10_000;
const LOCK_MS = 20 * 60_000;

/** Where a Temporal comes from. */
export type TemporalSource =
  | { readonly kind: 'external'; readonly address: string }
  | { readonly kind: 'program'; readonly from: 'path' | 'cache' | 'download' | 'build'; readonly path: string };

/** What finding a Temporal needs to know. */
export interface FindOptions {
  readonly paths: Pick<DevPaths, 'cache'>;
  readonly dev: TemporalDev;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds a Temporal, or makes one: TEMPORAL_ADDRESS, `temporal` on the PATH, the cache, the download, the Go build.
 * The first call on a machine may take minutes and says so; many at once make one.
 *
 * @throws StewardError WRONG_STATE saying what to install when no way is open; CANCELLED on the signal.
 */
export async function findTemporal(options: FindOptions): Promise<TemporalSource> {
  const known = await knownTemporal(options);
  if (known !== undefined) return known;
  const { onProgress = () => undefined, dev } = options;
  const target = cachedProgram(options.paths, dev);
  const locked = acquireLock(join(options.paths.cache, `temporal-${dev.cli}.lock`), {
    waitMs: LOCK_MS,
    signal: options.signal,
  });
  const lock = await withProgress(onProgress, 'Waiting for another process that is getting Temporal', locked);
  try {
    if (await isProgram(target)) return { kind: 'program', from: 'cache', path: target };
    const tried: string[] = ['there is no `temporal` on the PATH'];
    for (const [from, make] of [
      ['download', downloadTemporal],
      ['build', buildTemporal],
    ] as const) {
      try {
        await make({ dev, target, env: options.env ?? process.env, onProgress, signal: options.signal });
        return { kind: 'program', from, path: target };
      } catch (error) {
        if (options.signal?.aborted === true) throw cancelled(error);
        if (!isStewardError(error)) throw error;
        onProgress(error.message);
        tried.push(error.message);
      }
    }
    throw nothingFound(dev, tried);
  } finally {
    lock.release();
  }
}

/** The Temporal that would be used at once, without getting one: undefined when it must be downloaded or built. */
export async function knownTemporal(options: FindOptions): Promise<TemporalSource | undefined> {
  const { env = process.env, onProgress = () => undefined, dev } = options;
  const address = env.TEMPORAL_ADDRESS;
  if (address !== undefined && address !== '') return { kind: 'external', address };
  const onPath = await findOnPath(env);
  if (onPath !== undefined) {
    const server = await serverVersion(onPath);
    if (server !== undefined && !isOlder(server, dev.server)) return { kind: 'program', from: 'path', path: onPath };
    onProgress(
      `${onPath} carries Temporal server ${server ?? 'of an unknown version'}, older than ${dev.server}: not used`,
    );
  }
  const cached = cachedProgram(options.paths, dev);
  return (await isProgram(cached)) ? { kind: 'program', from: 'cache', path: cached } : undefined;
}

/** Where the program is kept once it was downloaded or built. */
export function cachedProgram(paths: Pick<DevPaths, 'cache'>, dev: TemporalDev): string {
  return join(paths.cache, `temporal-${dev.cli}-${process.platform}-${process.arch}`, 'temporal');
}

async function findOnPath(env: Readonly<Record<string, string | undefined>>): Promise<string | undefined> {
  for (const directory of (env.PATH ?? '').split(delimiter)) {
    if (directory !== '' && (await isProgram(join(directory, 'temporal')))) return join(directory, 'temporal');
  }
  return undefined;
}

async function isProgram(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile() && (found.mode & 0o111) !== 0,
    () => false,
  );
}

/** The server version a `temporal` program says it carries. */
export async function serverVersion(program: string): Promise<string | undefined> {
  const said = await promisify(execFile)(program, ['--version'], { timeout: VERSION_MS }).catch(() => undefined);
  return /Server (\d+\.\d+\.\d+)/.exec(said?.stdout ?? '')?.[1];
}

function isOlder(version: string, than: string): boolean {
  return version.localeCompare(than, 'en', { numeric: true }) < 0;
}

function cancelled(cause: unknown): StewardError {
  return new StewardError('CANCELLED', 'Getting Temporal was cancelled.', { cause });
}

function nothingFound(dev: TemporalDev, tried: readonly string[]): StewardError {
  return new StewardError(
    'WRONG_STATE',
    `No Temporal to run: ${tried.join('; ')}.\nDo one of these and start again:\n` +
      `  - install the Temporal CLI ${dev.cli} or newer, so that \`temporal\` is on the PATH\n` +
      `  - install Go ${GO_NEEDED} or newer; it is then built once, in a few minutes\n` +
      '  - docker compose -f temporal-dev.yml up, and set TEMPORAL_ADDRESS=127.0.0.1:7233\n' +
      '  - set TEMPORAL_ADDRESS to any other Temporal',
  );
}
