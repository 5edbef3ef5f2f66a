/**
 * A lock between processes that the operating system releases when its holder dies, however it dies. It is SQLite's
 * file lock: no stale lock files, nothing to clean up after a kill.
 */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { isStewardError, StewardError } from '#domain/errors.ts';

const SQLITE_BUSY = 5;
const POLL_MS = 100;

/** A lock that is held until `release`, or until this process ends. */
export interface Lock {
  release(): void;
}

/** How long to wait for a lock, and what to say while waiting. */
export interface LockOptions {
  /** Milliseconds; 0 tries once. */
  readonly waitMs: number;
  /** Called once, if another process holds it. */
  readonly onWait?: (holder: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Takes the lock of a file, which is created if need be.
 *
 * @throws StewardError WRONG_STATE naming the holder when it is still held after `waitMs`.
 */
export async function acquireLock(file: string, options: LockOptions): Promise<Lock> {
  const database = new DatabaseSync(file);
  const deadline = Date.now() + options.waitMs;
  let told = false;
  try {
    database.exec('PRAGMA busy_timeout = 0');
    while (!tryLock(database)) {
      options.signal?.throwIfAborted();
      const holder = await holderOf(file);
      if (Date.now() >= deadline) {
        throw new StewardError('WRONG_STATE', `${file} is held by ${holder}.`, { details: { holder } });
      }
      if (!told) options.onWait?.(holder);
      told = true;
      await delay(POLL_MS);
    }
    await writeFile(holderFile(file), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database.close();
    throw error;
  }
  return { release: () => database.close() };
}

/**
 * Takes the data directory for one launcher: two of them would stop each other's processes.
 *
 * @throws StewardError WRONG_STATE when Steward runs there already.
 */
export async function lockHome(home: string): Promise<Lock> {
  try {
    return await acquireLock(join(home, 'steward.lock'), { waitMs: 0 });
  } catch (error) {
    if (!isStewardError(error) || error.code !== 'WRONG_STATE') throw error;
    const message =
      `Steward runs already with the data in ${home} (${String(error.details.holder)}). ` +
      'Stop it there, or give this one its own STEWARD_HOME and STEWARD_PORT_OFFSET.';
    throw new StewardError('WRONG_STATE', message, { cause: error });
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false;
    throw error;
  }
}

async function holderOf(file: string): Promise<string> {
  const text = await readFile(holderFile(file), 'utf8').catch(() => '');
  return text.trim() === '' ? 'another process' : `process ${text.trim()}`;
}

function holderFile(file: string): string {
  return `${file}.holder`;
}
