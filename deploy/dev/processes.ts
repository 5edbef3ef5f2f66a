/**
 * Starts and ends the processes of the embedded default. Each has a log file, a record by which the next start finds
 * it if this one is killed, and its own process group, so that Ctrl-C reaches the launcher alone and it can stop
 * things in order.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { StewardError } from '#domain/errors.ts';
import type { DevPaths } from './paths.ts';
import { type ExitInfo, openLog, type ProcessLog, waitForLine } from './process-log.ts';
import {
  dropRecord,
  endProcess,
  findProcess,
  type ProcessRef,
  readRecord,
  recordedNames,
  type StopStep,
  writeRecord,
} from './process-table.ts';

/** The word that starts the one line a service prints on stdout when it serves; JSON follows it. */
export const READY_WORD = 'STEWARD_READY';

const READY_MS = 30_000;
const GRACE_MS = 10_000;
const KILL_MS = 5_000;
const DIE_WITH_PARENT = pathToFileURL(join(import.meta.dirname, 'die-with-parent.ts')).href;

/** What is started, as which account, with its log at `<logs>/<name>.log`. */
export interface CommandSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly account?: { readonly uid: number; readonly gid: number } | undefined;
  /** False where the process keeps a pid file of its own. */
  readonly recorded?: boolean;
  /** Opens a channel whose closing tells the child that this process has died. */
  readonly channel?: boolean;
}

/** A process that was started here. */
export interface StartedProcess extends ProcessRef, ProcessLog {
  readonly exited: Promise<ExitInfo>;
  /** Sends the signals in turn and waits for the end. Safe to repeat. */
  stop(steps: readonly StopStep[]): Promise<void>;
}

/** One of Steward's own services: a TypeScript entry run by this same Node. */
export interface ServiceSpec {
  readonly name: string;
  /** Absolute path of the entry file. */
  readonly entry: string;
  readonly args?: readonly string[];
  /** Added to, and winning over, this process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** How long it may take to serve, in milliseconds. */
  readonly readyMs?: number;
  /** How long it may take to end after SIGTERM before it is killed, in milliseconds. */
  readonly graceMs?: number;
  readonly signal?: AbortSignal;
}

/** A service that serves. */
export interface RunningService {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** The JSON after STEWARD_READY. */
  readonly ready: unknown;
  readonly exited: Promise<ExitInfo>;
  /** SIGTERM, the grace time, then SIGKILL; waits for the end. Safe to repeat. */
  stop(): Promise<void>;
}

/**
 * Starts a command and returns as soon as it runs.
 *
 * @throws StewardError UNAVAILABLE when it cannot be run at all.
 */
export async function startCommand(paths: Pick<DevPaths, 'logs' | 'run'>, spec: CommandSpec): Promise<StartedProcess> {
  const logFile = join(paths.logs, `${spec.name}.log`);
  const { descriptor, size } = openLog(logFile);
  const child = spawn(spec.command, [...spec.args], {
    env: { ...spec.env },
    detached: true,
    stdio: ['ignore', descriptor, descriptor, ...(spec.channel === true ? ['ipc' as const] : [])],
    ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
    ...(spec.account === undefined ? {} : { uid: spec.account.uid, gid: spec.account.gid }),
  });
  closeSync(descriptor);
  const recorded = spec.recorded ?? true;
  let exit: ExitInfo | undefined;
  const exited = new Promise<ExitInfo>((done) => {
    child.once('exit', (code, signal) => {
      exit = { code, signal };
      if (recorded) dropRecord(paths.run, spec.name);
      done(exit);
    });
  });
  const pid = await spawned(child, spec);
  // A process that is gone already has no identity; nothing can be recycled before its exit is reported here.
  const self = { pid, identity: findProcess(pid)?.identity ?? 'gone' };
  if (recorded && exit === undefined) writeRecord(paths.run, { ...self, name: spec.name });
  const stop = async (steps: readonly StopStep[]) => {
    const ended = await endProcess(self, steps);
    if (!ended) throw new StewardError('INTERNAL', `${spec.name} (process ${pid}) could not be ended.`);
    if (child.exitCode !== null || child.signalCode !== null) return;
    await Promise.race([exited, delay(KILL_MS, undefined, { ref: false })]);
  };
  return { name: spec.name, ...self, logFile, logStart: size, exited, exit: () => exit, stop };
}

/**
 * Starts a service and waits until it prints `STEWARD_READY {json}`. It ends itself if this process dies.
 *
 * @throws StewardError UNAVAILABLE with the last lines of its log when it ends or stays silent instead.
 */
export async function startService(paths: Pick<DevPaths, 'logs' | 'run'>, spec: ServiceSpec): Promise<RunningService> {
  const readyMs = spec.readyMs ?? READY_MS;
  const steps: readonly StopStep[] = [
    { signal: 'SIGTERM', waitMs: spec.graceMs ?? GRACE_MS },
    { signal: 'SIGKILL', waitMs: KILL_MS },
  ];
  await stopLeftover(paths, spec.name);
  const child = await startCommand(paths, {
    name: spec.name,
    command: process.execPath,
    args: ['--import', DIE_WITH_PARENT, spec.entry, ...(spec.args ?? [])],
    env: { ...process.env, ...spec.env },
    channel: true,
    ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
  });
  try {
    const line = await waitForLine(child, `${READY_WORD} `, readyMs, spec.signal);
    const ready = parseReady(child, line.slice(READY_WORD.length + 1));
    return { ...child, ready, stop: () => child.stop(steps) };
  } catch (error) {
    await child.stop(steps);
    throw error;
  }
}

/** Stops a process of this name that an earlier, killed launcher left behind. Returns whether there was one. */
export async function stopLeftover(paths: Pick<DevPaths, 'run'>, name: string): Promise<boolean> {
  const record = readRecord(paths.run, name);
  if (record === undefined) {
    dropRecord(paths.run, name);
    return false;
  }
  const ended = await endProcess(record, [
    { signal: 'SIGTERM', waitMs: GRACE_MS },
    { signal: 'SIGKILL', waitMs: KILL_MS },
  ]);
  if (!ended) {
    throw new StewardError('WRONG_STATE', `${name} of an earlier start (process ${record.pid}) could not be ended.`);
  }
  dropRecord(paths.run, name);
  return true;
}

/** Stops all that an earlier, killed launcher left behind, but for the names kept. Returns what was stopped. */
export async function stopLeftovers(
  paths: Pick<DevPaths, 'run'>,
  keep: readonly string[] = [],
): Promise<readonly string[]> {
  const names = recordedNames(paths.run).filter((name) => !keep.includes(name));
  const stopped = await Promise.all(names.map(async (name) => ((await stopLeftover(paths, name)) ? [name] : [])));
  return stopped.flat();
}

function parseReady(child: StartedProcess, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new StewardError('INTERNAL', `${child.name} printed ${READY_WORD} without valid JSON: ${text}`, { cause });
  }
}

function spawned(child: ChildProcess, spec: CommandSpec): Promise<number> {
  return new Promise((done, fail) => {
    child.once('spawn', () => done(child.pid as number));
    child.once('error', (cause) => {
      const message = `${spec.name} cannot be run (${spec.command}): ${cause.message}.`;
      fail(new StewardError('UNAVAILABLE', message, { cause }));
    });
  });
}
