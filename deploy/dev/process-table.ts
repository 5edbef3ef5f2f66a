/**
 * Processes by identity, not by number alone: a pid that the system has given to somebody else since is never taken
 * for ours, and so never ended.
 */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** A process and what tells it from a later one with the same pid. */
export interface ProcessRef {
  readonly pid: number;
  /** When the process began, as the system tells it. */
  readonly identity: string;
}

/** A process that was started, as written to its record file. */
export interface ProcessRecord extends ProcessRef {
  readonly name: string;
}

/** A signal, and how long to wait for it to work. */
export interface StopStep {
  readonly signal: NodeJS.Signals;
  readonly waitMs: number;
}

const POLL_MS = process.platform === 'linux' ? 20 : 150;
const PS_MS = 2_000;

/** The live process of a pid, or undefined where there is none. One that has ended and waits to be reaped is none. */
export function findProcess(pid: number): ProcessRef | undefined {
  const identity = process.platform === 'linux' ? identityFromProc(pid) : identityFromPs(pid);
  return identity === undefined ? undefined : { pid, identity };
}

/** True while exactly this process lives. */
export function isRunning(ref: ProcessRef): boolean {
  return findProcess(ref.pid)?.identity === ref.identity;
}

/** The command line of a process, arguments parted by blanks; empty where it cannot be read. */
export function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    }
    return ps(pid, 'command=');
  } catch {
    return '';
  }
}

/**
 * Ends a process by its pid, one signal after the other, and waits for it to be gone. Returns false if it lives on
 * after the last step. A SIGKILL goes to its whole process group where it leads one.
 */
export async function endProcess(ref: ProcessRef, steps: readonly StopStep[]): Promise<boolean> {
  for (const { signal, waitMs } of steps) {
    if (!isRunning(ref)) return true;
    send(ref.pid, signal);
    const deadline = Date.now() + waitMs;
    while (Date.now() < deadline) {
      if (!isRunning(ref)) return true;
      await delay(POLL_MS);
    }
  }
  return !isRunning(ref);
}

/** Resolves when a process that is not our child has ended. Does not keep this process alive. */
export async function whenGone(ref: ProcessRef, pollMs = 500): Promise<void> {
  while (isRunning(ref)) await delay(pollMs, undefined, { ref: false });
}

/** Writes down a process that was started, so that the next start can find it. */
export function writeRecord(directory: string, record: ProcessRecord): void {
  writeFileSync(recordFile(directory, record.name), `${JSON.stringify(record)}\n`, { mode: 0o600 });
}

/** Removes the record of a process that has ended. */
export function dropRecord(directory: string, name: string): void {
  rmSync(recordFile(directory, name), { force: true });
}

/** The recorded process of a name, if it still lives. */
export function readRecord(directory: string, name: string): ProcessRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(recordFile(directory, name), 'utf8')) as ProcessRecord;
    return Number.isInteger(record.pid) && isRunning(record) ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Names of all recorded processes, living or not. */
export function recordedNames(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.pid.json'))
    .map((file) => file.slice(0, -'.pid.json'.length));
}

function recordFile(directory: string, name: string): string {
  return join(directory, `${name}.pid.json`);
}

function send(pid: number, signal: NodeJS.Signals): void {
  const targets = signal === 'SIGKILL' ? [-pid, pid] : [pid];
  for (const target of targets) {
    try {
      process.kill(target, signal);
      return;
    } catch {
      // Not the leader of a group, or gone already: the caller looks again.
    }
  }
}

function identityFromProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, started] = [fields[0], fields[19]];
    if (state === 'Z' || state === 'X' || started === undefined) return undefined;
    return `${bootId()}:${started}`;
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return 'boot';
  }
}

function identityFromPs(pid: number): string | undefined {
  try {
    const [state, ...started] = ps(pid, 'stat=,lstart=').split(/\s+/);
    return state === undefined || state.startsWith('Z') ? undefined : started.join(' ');
  } catch {
    return undefined;
  }
}

function ps(pid: number, columns: string): string {
  return execFileSync('ps', ['-o', columns, '-p', String(pid)], { encoding: 'utf8', timeout: PS_MS }).trim();
}
