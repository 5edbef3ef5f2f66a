import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { FOLDER_VARIABLE, type Target } from './points.ts';

/** Something a process is at. */
export interface Work {
  readonly what: string;
  readonly run: string | null;
}

/** What a process was at when it was looked at. */
export interface Snapshot {
  readonly pid: number;
  readonly work: readonly Work[];
}

/** Left by a point that was armed and was come to. */
export interface Note extends Snapshot {
  readonly target: Target;
  readonly point: string;
  readonly what: string;
  readonly at: number;
}

const SNAPSHOT_BYTES = 16_384;
const MOST_WORK = 100;

/**
 * A process's side: it keeps a file of what it is at, and dies where it is told to. Everything is synchronous, so that
 * what the file says is what was so when the process was stopped.
 */
export class Probe {
  readonly #folder: string;
  readonly #target: Target;
  readonly #file: number;
  readonly #work = new Set<Work>();

  constructor(target: Target, folder: string = required(FOLDER_VARIABLE)) {
    this.#folder = folder;
    this.#target = target;
    this.#file = openSync(join(folder, 'at', target), 'w');
    this.#write();
  }

  /** Counts the work as under way until it ends. */
  async during<T>(work: Work, run: () => Promise<T>): Promise<T> {
    this.#work.add(work);
    this.#write();
    try {
      return await run();
    } finally {
      this.#work.delete(work);
      this.#write();
    }
  }

  /** True, once, where the point is armed; leaves a note. */
  take(point: string, what: string): boolean {
    const armed = join(this.#folder, 'armed', nameOf(this.#target, point));
    if (!existsSync(armed)) return false;
    const taken = join(this.#folder, 'taken', `${process.pid}-${Date.now()}-${point}`);
    try {
      renameSync(armed, taken);
    } catch {
      return false;
    }
    this.#leave(taken, point, what);
    return true;
  }

  /** Leaves a note that something has happened. */
  tell(point: string, what: string): void {
    this.#leave(join(this.#folder, 'taken', `${process.pid}-${Date.now()}-${point}`), point, what);
  }

  /** Ends this process where the point is armed. */
  dieAt(point: string, what: string): void {
    if (this.take(point, what)) process.kill(process.pid, 'SIGKILL');
  }

  #leave(file: string, point: string, what: string): void {
    const note: Note = { target: this.#target, point, what, at: Date.now(), ...this.#snapshot() };
    writeFileSync(`${file}.new`, JSON.stringify(note));
    renameSync(`${file}.new`, file);
  }

  #snapshot(): Snapshot {
    return { pid: process.pid, work: [...this.#work].slice(0, MOST_WORK) };
  }

  #write(): void {
    writeSync(this.#file, JSON.stringify(this.#snapshot()).padEnd(SNAPSHOT_BYTES), 0);
  }
}

/** The other side: arms points and reads what the processes say. */
export interface Control {
  readonly folder: string;
  arm(target: Target, point: string): void;
  /** False where the point was come to before. */
  disarm(target: Target, point: string): boolean;
  /** What the process that last had this name was at. */
  snapshot(target: Target): Snapshot;
  notes(): readonly Note[];
}

/** Makes the folder in which the two sides meet. */
export function openControl(folder: string): Control {
  for (const part of ['at', 'armed', 'taken']) mkdirSync(join(folder, part), { recursive: true });
  return {
    folder,
    arm(target, point) {
      closeSync(openSync(join(folder, 'armed', nameOf(target, point)), 'w'));
    },
    disarm(target, point) {
      const armed = join(folder, 'armed', nameOf(target, point));
      const still = existsSync(armed);
      rmSync(armed, { force: true });
      return still;
    },
    snapshot: (target) => JSON.parse(readFileSync(join(folder, 'at', target), 'utf8')) as Snapshot,
    notes() {
      const texts = readdirSync(join(folder, 'taken'))
        .filter((name) => !name.endsWith('.new'))
        .map((name) => readFileSync(join(folder, 'taken', name), 'utf8'));
      return texts.filter((text) => text !== '').map((text) => JSON.parse(text) as Note);
    },
  };
}

function nameOf(target: Target, point: string): string {
  return `${target}.${point}`;
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set; start this through npm run chaos.`);
  return value;
}
