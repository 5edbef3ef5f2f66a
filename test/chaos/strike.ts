import { setTimeout as sleep } from 'node:timers/promises';
import { EFFECTS_PER_RUN } from './intents.ts';
import type { Plan, PlannedKill } from './plan.ts';
import { LATE } from './points.ts';
import type { Control } from './probe.ts';
import type { Progress } from './progress.ts';
import type { Supervisor } from './supervisor.ts';

/** A point that nobody comes to for so long is given up; the process is killed wherever it is. */
const COME_TO_MS = 15_000;
/** The same where only one run is left. */
const LAST_COME_TO_MS = 3_000;
const LOOK_MS = 20;
/** Share of all effects that must be done first. */
const ROLL_AT = 0.2;

export interface Strike {
  readonly plan: Plan;
  readonly control: Control;
  readonly supervisor: Supervisor;
  readonly progress: Progress;
  readonly note: (line: string) => void;
  /** The workflow bundle of the next release. */
  readonly release: string;
}

/** Kills what is planned, one after the other, each when it is due or only one run is left. */
export async function strike(on: Strike): Promise<void> {
  try {
    const { kills } = on.plan;
    const rollAt = Math.floor(kills.length / 3);
    if (kills.length === 0) await roll(on);
    for (const [index, kill] of kills.entries()) {
      if (index === rollAt) await roll(on);
      const due = await on.progress.reaches(kill.at * on.progress.runs * EFFECTS_PER_RUN);
      if (!due) return;
      await strikeOne(on, kill);
    }
  } finally {
    on.progress.struck = true;
  }
}

/** Replaces the worker by one of the next release while runs of this one are under way. */
async function roll({ progress, supervisor, release }: Strike): Promise<void> {
  if (await progress.reaches(ROLL_AT * progress.runs * EFFECTS_PER_RUN)) await supervisor.roll(release);
}

async function strikeOne(on: Strike, { target, point }: PlannedKill): Promise<void> {
  const { control, supervisor, progress } = on;
  if (target === 'postgres' || target === 'temporal') return await supervisor.killServer(target);
  const { pid } = await supervisor.up(target);
  if (point !== null) {
    control.arm(target, point);
    const gone = () => supervisor.kills.some((kill) => kill.target === target && kill.pid === pid);
    const patience = () => (progress.last ? LAST_COME_TO_MS : COME_TO_MS);
    for (const armed = Date.now(); Date.now() - armed < patience() && !gone(); ) await sleep(LOOK_MS);
    if (!control.disarm(target, point)) return;
    on.note(`nobody came to ${target} ${point}; killing it wherever it is`);
  }
  await supervisor.kill(target);
}

/** Has calls begun late, each when it is due. */
export async function delay({ plan, control, progress }: Strike): Promise<void> {
  for (const { target, at } of plan.late) {
    if (!(await progress.reaches(at * progress.runs * EFFECTS_PER_RUN))) return;
    control.arm(target, LATE);
  }
}
