/** postmaster.pid: what a Postgres says of itself in its data directory, and whether it is still true. */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { commandLine, findProcess, type ProcessRef } from './process-table.ts';

/** A live server of a data directory. */
export interface Postmaster extends ProcessRef {
  /** Program and arguments, parted by blanks. */
  readonly command: string;
}

/** The live server of a data directory: its pid file names a process that runs Postgres on this very directory. */
export function findPostmaster(data: string): Postmaster | undefined {
  const lines = readPidFile(data);
  if (lines === undefined) return undefined;
  const found = findProcess(Number(lines[0]));
  if (found === undefined) return undefined;
  const command = commandLine(found.pid);
  return command.includes(`postgres -D ${data} `) ? { ...found, command } : undefined;
}

/**
 * Removes a pid file whose process is gone and whose number somebody else bears now, or that waits to be reaped:
 * Postgres would take it for a live server and refuse to start. All other stale files it clears itself, with more
 * checks than are possible from here.
 */
export function clearStalePidFile(data: string): void {
  const lines = readPidFile(data);
  if (lines === undefined || findPostmaster(data) !== undefined) return;
  try {
    process.kill(Number(lines[0]), 0);
    rmSync(join(data, 'postmaster.pid'), { force: true });
  } catch {
    // No such process: Postgres sees that too.
  }
}

function readPidFile(data: string): readonly string[] | undefined {
  try {
    const lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
    return Number.isInteger(Number(lines[0])) && Number(lines[0]) > 0 ? lines : undefined;
  } catch {
    return undefined;
  }
}
