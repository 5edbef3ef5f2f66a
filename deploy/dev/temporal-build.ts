/** Builds the Temporal CLI from its Go module: the way that needs no download site, only Go and its module proxy. */

import { execFile, spawn } from 'node:child_process';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { StewardError } from '#domain/errors.ts';
import { type OnProgress, withProgress } from './progress.ts';
import type { TemporalDev } from './temporal-config.ts';

/** The oldest Go that can build it. */
export const GO_NEEDED = '1.26';

const GO_MS = 10_000;
const BUILD_MS = 30 * 60_000;
const MODULE = join(import.meta.dirname, 'temporal-build');
const PROGRAM = 'github.com/temporalio/cli/cmd/temporal';
const VERSION_VARIABLE = 'github.com/temporalio/cli/temporalcli.Version';
const LAST_LINES = 5;

/** What making the program needs to know. */
export interface MakeOptions {
  readonly dev: TemporalDev;
  /** Where the finished program goes, all at once. The caller holds the lock of this place. */
  readonly target: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Builds the program and puts it at `target`.
 *
 * @throws StewardError WRONG_STATE when there is no suitable Go, UNAVAILABLE with Go's last words when it fails.
 */
export async function buildTemporal(options: MakeOptions): Promise<void> {
  const { dev, target, onProgress } = options;
  const go = await findGo(options.env);
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  await removeParts(target);
  const part = `${target}.part-${process.pid}`;
  onProgress(`Building Temporal CLI ${dev.cli} with ${go}: once on this machine, a few minutes`);
  try {
    await runBuild(options, part);
    await rename(part, target);
  } finally {
    await rm(part, { force: true });
  }
}

/**
 * The version of the Go that would build it.
 *
 * @throws StewardError WRONG_STATE when there is none or it is too old.
 */
export async function findGo(env: Readonly<Record<string, string | undefined>>): Promise<string> {
  const asked = promisify(execFile)('go', ['env', 'GOVERSION'], { timeout: GO_MS, env: { ...env }, cwd: MODULE });
  const said = await asked.catch(() => undefined);
  const version = /^go(\d+)\.(\d+)/.exec(said?.stdout ?? '');
  if (said === undefined || version === null) throw new StewardError('WRONG_STATE', 'Go is not installed');
  const [major, minor] = GO_NEEDED.split('.').map(Number) as [number, number];
  const [, foundMajor, foundMinor] = version.map(Number) as [number, number, number];
  if (foundMajor > major || (foundMajor === major && foundMinor >= minor)) return said.stdout.trim();
  throw new StewardError('WRONG_STATE', `${said.stdout.trim()} is too old to build Temporal (${GO_NEEDED} is needed)`);
}

async function runBuild(options: MakeOptions, output: string): Promise<void> {
  const flags = `-s -w -X ${VERSION_VARIABLE}=${options.dev.cli}`;
  const child = spawn(
    'go',
    ['build', '-v', '-trimpath', '-mod=readonly', '-buildvcs=false', `-ldflags=${flags}`, '-o', output, PROGRAM],
    {
      cwd: MODULE,
      env: { ...options.env, GOWORK: 'off' },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: BUILD_MS,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    },
  );
  let fetched = 0;
  let compiled = 0;
  const last: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (line.startsWith('go: downloading')) fetched += 1;
    else if (/^[\w./~-]+$/.test(line)) compiled += 1;
    last.push(line);
    if (last.length > LAST_LINES) last.shift();
  });
  const done = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) return resolve();
      const how = signal === null ? `code ${code}` : `signal ${signal}`;
      reject(new StewardError('UNAVAILABLE', `building Temporal failed (${how}): ${last.join('\n')}`));
    });
  });
  const detail = () => {
    if (compiled > 0) return `${compiled} packages compiled`;
    return fetched > 0 ? `${fetched} modules fetched` : '';
  };
  await withProgress(options.onProgress, `Building Temporal CLI ${options.dev.cli}`, done, detail);
}

/** What a killed build left. */
async function removeParts(target: string): Promise<void> {
  for (const name of await readdir(dirname(target))) {
    if (name.startsWith(`${basename(target)}.part-`)) await rm(join(dirname(target), name), { force: true });
  }
}
