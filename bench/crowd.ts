import { playLoop } from './loops.ts';
import type { Stand } from './stand.ts';
import { playRun } from './turns.ts';

/** Runs at once. */
export const CROWD = 50;

/** Turns a second of fifty runs, or bare loops, at once: all their turns by the time from the first start to the last end. */
export async function measureCrowd(stand: Stand, of: 'runs' | 'loops', turns: number): Promise<number> {
  const play = of === 'runs' ? () => playRun(stand, turns) : () => playLoop(stand, 'bare', turns);
  const began = performance.now();
  await Promise.all(Array.from({ length: CROWD }, play));
  return (CROWD * turns) / ((performance.now() - began) / 1_000);
}
