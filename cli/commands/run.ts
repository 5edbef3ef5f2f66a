import type { Command } from 'commander';
import { addRunReads } from './run-read.ts';
import { addRunStart } from './run-start.ts';
import { addRunSteering } from './run-steer.ts';

/** Adds `run` and its commands. */
export function addRun(program: Command): void {
  const run = program
    .command('run')
    .summary('start, watch and steer runs')
    .description('Starts, watches and steers runs.');
  addRunStart(run);
  addRunReads(run);
  addRunSteering(run);
}
