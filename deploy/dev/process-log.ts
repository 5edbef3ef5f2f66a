/** The log file of a process that was started here: the only way its words are read. */

import { openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as delay } from 'node:timers/promises';
import { StewardError } from '#domain/errors.ts';

const LOG_LIMIT_BYTES = 10_000_000;
const TAIL_BYTES = 64_000;
const TAIL_LINES = 20;
const POLL_MS = 30;

/** How a process ended. */
export interface ExitInfo {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What is known of a started process and its words. */
export interface ProcessLog {
  readonly name: string;
  readonly logFile: string;
  /** Where in the log file this start begins, in bytes. */
  readonly logStart: number;
  /** How it ended, once it has. */
  exit(): ExitInfo | undefined;
}

/** Opens a log for adding to, readable by this account only. One beyond 10 MB is first put aside as `<file>.1`. */
export function openLog(file: string): { descriptor: number; size: number } {
  const before = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (before > LOG_LIMIT_BYTES) renameSync(file, `${file}.1`);
  return { descriptor: openSync(file, 'a', 0o600), size: before > LOG_LIMIT_BYTES ? 0 : before };
}

/**
 * Waits for the first line of this start's output that begins with `prefix`, and returns it.
 *
 * @throws StewardError UNAVAILABLE when the process ends first or the time is over; CANCELLED on the signal.
 */
export async function waitForLine(
  child: ProcessLog,
  prefix: string,
  waitMs: number,
  signal?: AbortSignal,
): Promise<string> {
  const deadline = Date.now() + waitMs;
  const log = await open(child.logFile, 'r');
  const chunk = Buffer.alloc(64 * 1024);
  const decoder = new StringDecoder('utf8');
  let position = child.logStart;
  let rest = '';
  try {
    for (;;) {
      // Read after looking, so that the last words of a process that has ended are still seen.
      const exit = child.exit();
      for (let read = -1; read !== 0 && Date.now() < deadline; ) {
        read = (await log.read(chunk, 0, chunk.length, position)).bytesRead;
        position += read;
        const lines = (rest + decoder.write(chunk.subarray(0, read))).split('\n');
        rest = (lines.pop() ?? '').slice(-TAIL_BYTES);
        const found = lines.find((line) => line.startsWith(prefix));
        if (found !== undefined) return found;
      }
      if (exit !== undefined) throw startFailure(child, endedAs(exit));
      if (signal?.aborted === true) throw new StewardError('CANCELLED', `Starting ${child.name} was cancelled.`);
      if (Date.now() >= deadline) throw startFailure(child, `did not serve within ${waitMs / 1000} s`);
      await delay(POLL_MS);
    }
  } finally {
    await log.close();
  }
}

/** The error for a process that did not come up: what happened, its last log lines, and where the log is. */
export function startFailure(child: Omit<ProcessLog, 'exit'>, what: string): StewardError {
  const tail = logTail(child.logFile, child.logStart);
  const said = tail === '' ? 'It wrote nothing.' : `Its last lines:\n${tail}`;
  return new StewardError('UNAVAILABLE', `${child.name} ${what}. ${said}\nLog: ${child.logFile}`, {
    details: { process: child.name },
  });
}

/** How a process ended, for people. */
export function endedAs(exit: ExitInfo): string {
  return exit.signal === null ? `ended with code ${exit.code}` : `was ended by ${exit.signal}`;
}

function logTail(file: string, from: number): string {
  try {
    const text = readFileSync(file).subarray(from).subarray(-TAIL_BYTES).toString('utf8');
    return text.trimEnd().split('\n').slice(-TAIL_LINES).map(readable).join('\n');
  } catch {
    return '';
  }
}

/** A line of a service's log as a person reads it; any other line as it is. */
function readable(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    const { level, msg, err } = JSON.parse(line) as { level?: string; msg?: string; err?: ToldError };
    if (msg === undefined) return line;
    const why: string[] = [];
    for (let at = err; at !== undefined && why.length < 4; at = at.cause) if (at.message) why.push(at.message);
    return [`${level ?? 'info'}: ${msg}`, ...why].join(': ');
  } catch {
    return line;
  }
}

interface ToldError {
  readonly message?: string;
  readonly cause?: ToldError;
}
