/**
 * Gets the Temporal CLI the way the SDK's testing package does. That happens in a process of its own, so that it can
 * be ended when nothing answers: offline machines must not wait.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { StewardError } from '#domain/errors.ts';
import { withProgress } from './progress.ts';
import type { MakeOptions } from './temporal-build.ts';

const LOAD_MS = 15_000;
const ANSWER_MS = 4_000;
const STALL_MS = 30_000;
const TOTAL_MS = 15 * 60_000;
const POLL_MS = 50;

/** What the downloading process reports. */
export type DownloadReport = { readonly state: 'asking' } | { readonly state: 'failed'; readonly why: string };

/**
 * Downloads the program and puts it at `target`. Gives up after a few seconds when the download does not begin.
 *
 * @throws StewardError UNAVAILABLE saying why there is no download.
 */
export async function downloadTemporal(options: MakeOptions): Promise<void> {
  const { dev, target } = options;
  const version = `v${dev.cli}`;
  const directory = join(dirname(target), 'download');
  const file = join(directory, `temporal-${version}`);
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const child = fork(join(import.meta.dirname, 'temporal-download-child.ts'), [version, directory], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    detached: true,
    env: { ...options.env },
    execArgv: [],
  });
  try {
    let megabytes = 0;
    const watched = watch(child, file, options.signal, (bytes) => {
      megabytes = Math.round(bytes / 1e6);
    });
    const detail = () => (megabytes === 0 ? '' : `${megabytes} MB`);
    await withProgress(options.onProgress, `Downloading Temporal CLI ${dev.cli}`, watched, detail);
    await rename(file, target);
  } finally {
    end(child);
    await rm(directory, { recursive: true, force: true });
  }
}

/** Resolves when the finished file is there; until then the part file must appear soon and keep growing. */
async function watch(
  child: ChildProcess,
  file: string,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let failure: string | undefined;
  let limit = Date.now() + LOAD_MS;
  child.on('message', (report: DownloadReport) => {
    if (report.state === 'failed') failure = report.why;
    else limit = Date.now() + ANSWER_MS;
  });
  child.once('error', (error) => {
    failure = error.message;
  });
  child.once('exit', () => {
    failure ??= 'the downloading process ended';
  });
  const total = Date.now() + TOTAL_MS;
  let bytes = 0;
  for (;;) {
    if ((await sizeOf(file)) !== undefined) return;
    const part = await sizeOf(`${file}.downloading`);
    if (part !== undefined && part > bytes) {
      bytes = part;
      limit = Date.now() + STALL_MS;
      onBytes(bytes);
    }
    signal?.throwIfAborted();
    if (failure !== undefined) throw new StewardError('UNAVAILABLE', `Temporal cannot be downloaded (${failure})`);
    if (Date.now() > Math.min(limit, total)) {
      throw new StewardError('UNAVAILABLE', `Temporal cannot be downloaded (${bytes === 0 ? 'no answer' : 'stalled'})`);
    }
    await delay(POLL_MS);
  }
}

/** With the server it may have started, which is in its process group. */
function end(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    (found) => found.size,
    () => undefined,
  );
}
