import { readdirSync, readFileSync } from 'node:fs';

/** Milliseconds of CPU by process of the stand: services by their folder, `postgres` and `temporal` with all of theirs. */
export type CpuTimes = ReadonlyMap<string, number>;

interface Process {
  readonly parent: string;
  readonly command: string;
  readonly ms: number;
}

/** What a tick of /proc is on every Linux that Node runs on. */
const TICK_MS = 10;

/**
 * The CPU that the processes started from here have used so far; empty where there is no /proc. Unlike time, it hardly
 * changes with what else the machine does.
 */
export function cpuTimes(): CpuTimes {
  const processes = readProcesses();
  const times = new Map<string, number>();
  for (const [id, { command, ms }] of processes) {
    const name = isOwn(processes, id) ? nameOf(command) : undefined;
    if (name !== undefined) times.set(name, (times.get(name) ?? 0) + ms);
  }
  return times;
}

/** What was used between two readings, by turn. */
export function cpuPerTurn(before: CpuTimes, after: CpuTimes, turns: number): CpuTimes {
  return new Map([...after].map(([name, ms]) => [name, (ms - (before.get(name) ?? 0)) / turns]));
}

function readProcesses(): ReadonlyMap<string, Process> {
  const processes = new Map<string, Process>();
  let ids: readonly string[];
  try {
    ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return processes;
  }
  for (const id of ids) {
    try {
      const stat = readFileSync(`/proc/${id}/stat`, 'utf8');
      // The second field is a name in brackets that may hold anything.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // utime and stime, and those of children that have ended.
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
      const command = readFileSync(`/proc/${id}/cmdline`, 'utf8').replaceAll('\0', ' ');
      processes.set(id, { parent: fields[1] ?? '', command, ms: ticks * TICK_MS });
    } catch {
      // It has ended meanwhile.
    }
  }
  return processes;
}

function isOwn(processes: ReadonlyMap<string, Process>, id: string): boolean {
  for (let at = processes.get(id)?.parent; at !== undefined; at = processes.get(at)?.parent) {
    if (at === String(process.pid)) return true;
  }
  return false;
}

function nameOf(command: string): string | undefined {
  const service = /services\/(?:catalogs\/)?([a-z-]+)\/main\.ts/.exec(command)?.[1];
  if (service !== undefined) return service;
  if (command.includes('bench/bare/main.ts')) return 'bare worker';
  if (/\btemporal server\b/.test(command)) return 'temporal';
  return /\bpostgres\b/.test(command) ? 'postgres' : undefined;
}
