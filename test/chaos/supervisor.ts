import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningService } from '#deploy/dev/processes.ts';
import type { ServerName, Stack } from '#deploy/dev/stack.ts';
import { BUNDLE_FILE, POINTS, TARGETS, type Target } from './points.ts';
import type { Control, Snapshot, Work } from './probe.ts';

/** A time in which runs could not go on, and what was under way when it began. Times as in `Kill`. */
export type Pause = Pick<Kill, 'at' | 'readyAt' | 'work'>;

/** One process that was killed. Times are milliseconds since 1970. */
export interface Kill {
  readonly target: Target | ServerName;
  readonly pid: number;
  readonly point: string | null;
  readonly at: number;
  /** What it was at in that moment, as it stood when it was stopped. */
  readonly work: readonly Work[];
  /** When it served again. */
  readyAt: number | null;
}

/** A server whose first process was killed starts again once the last of its others has noticed. */
const SERVER_TRIES = 10;
const SERVER_WAIT_MS = 500;
/** Between SIGSTOP and the look at what the process was at. */
const STOPPED_MS = 5;

/** Kills processes, sees those that killed themselves at a point, and starts each again at once. */
export class Supervisor {
  readonly kills: Kill[] = [];
  /** Processes that ended and were neither killed nor told to end. */
  readonly crashes: string[] = [];
  /** When the worker was replaced by one of another release. */
  readonly rolls: Pause[] = [];
  readonly #rolled = new Set<number>();
  readonly #stack: Stack;
  readonly #control: Control;
  readonly #note: (line: string) => void;
  readonly #up = new Map<Target, Promise<RunningService>>();
  readonly #killed = new Map<number, Snapshot>();
  readonly #failed = Promise.withResolvers<never>();
  #stopped = false;

  constructor(stack: Stack, control: Control, note: (line: string) => void, targets: readonly Target[] = TARGETS) {
    this.#stack = stack;
    this.#control = control;
    this.#note = note;
    this.#failed.promise.catch(() => undefined);
    for (const target of targets) {
      const service = stack.service(target);
      this.#up.set(target, Promise.resolve(service));
      this.#watch(target, service);
    }
  }

  /** Rejects where a process could not be started again. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** The process of this name, as soon as it serves. */
  async up(target: Target): Promise<RunningService> {
    return await Promise.race([this.#up.get(target) as Promise<RunningService>, this.#failed.promise]);
  }

  /** Stops the process, looks what it is at, and kills it. */
  async kill(target: Target): Promise<void> {
    const { pid, exited } = await this.up(target);
    // It may end at a point that is still armed; then that was it.
    if (!signal(pid, 'SIGSTOP')) return;
    await sleep(STOPPED_MS);
    this.#killed.set(pid, this.#control.snapshot(target));
    signal(pid, 'SIGKILL');
    await exited;
  }

  /** Kills a server, once every other process serves, and starts it again. Whatever the worker was at needed it. */
  async killServer(name: ServerName): Promise<void> {
    await Promise.all([...this.#up.keys()].map((target) => this.up(target)));
    const { pid, exited } = this.#stack.server(name);
    if (pid === undefined) throw new Error(`${name} was not started here, so it cannot be killed`);
    const { work } = this.#control.snapshot('worker');
    process.kill(pid, 'SIGKILL');
    await exited;
    const kill: Kill = { target: name, pid, point: null, at: Date.now(), work, readyAt: null };
    this.kills.push(kill);
    this.#note(`killed ${name} (the worker was at ${work.length})`);
    for (let left = SERVER_TRIES; ; left -= 1) {
      try {
        await this.#stack.restartServer(name);
        break;
      } catch (error) {
        if (left === 0) throw error;
        await sleep(SERVER_WAIT_MS);
      }
    }
    kill.readyAt = Date.now();
  }

  /** Ends the worker as a deploy does, and starts it with another workflow bundle; it keeps that from now on. */
  async roll(bundle: string): Promise<void> {
    writeFileSync(join(this.#control.folder, BUNDLE_FILE), bundle);
    const { pid, exited } = await this.up('worker');
    this.#rolled.add(pid);
    this.#note('rolling the worker to the next release');
    const at = Date.now();
    signal(pid, 'SIGTERM');
    await exited;
    await this.up('worker');
    this.rolls.push({ at, readyAt: Date.now(), work: [] });
  }

  /** Takes ends for wanted from now on, and waits for starts under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.allSettled(this.#up.values());
  }

  #watch(target: Target, service: RunningService): void {
    void service.exited.then((exit) => {
      if (this.#stopped) return;
      const kill = this.#record(target, service.pid, exit.signal ?? `code ${exit.code}`);
      const again = this.#restart(target, kill);
      this.#up.set(target, again);
      again.catch((error: unknown) => this.#failed.reject(error));
    });
  }

  async #restart(target: Target, kill: Kill | null): Promise<RunningService> {
    const service = await this.#stack.restart(target);
    if (kill !== null) kill.readyAt = Date.now();
    this.#watch(target, service);
    return service;
  }

  #record(target: Target, pid: number, end: string): Kill | null {
    const at = Date.now();
    const own = this.#killed.get(pid);
    const note = this.#control.notes().find((each) => each.pid === pid && Object.hasOwn(POINTS[target], each.point));
    const found = own ?? note;
    if (found === undefined && this.#rolled.has(pid)) return null;
    if (found === undefined || end !== 'SIGKILL') {
      this.crashes.push(`${target} ended by itself (${end}); see ${this.#stack.service(target).logFile}`);
      return null;
    }
    const point = own === undefined ? (note?.point ?? null) : null;
    const kill: Kill = { target, pid, point, at, work: found.work, readyAt: null };
    this.kills.push(kill);
    const doing = found.work.length === 0 ? 'idle' : `at ${found.work.length}: ${found.work[0]?.what}`;
    this.#note(`killed ${target} ${point ?? 'anywhere'} (${doing})`);
    return kill;
  }
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
