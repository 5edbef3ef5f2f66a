import type { Command } from 'commander';
import { addRunExport } from './run-export.ts';
import { addRunReads } from './run-read.ts';
import { addRunStart } from './run-start.ts';
import { addRunSteering } from './run-steer.ts';
import { addRunUndo } from './run-undo.ts';

/** Adds `run` and its commands. */
export function addRun(program: Command): void {
  const run = program
    .command('run')
    .summary('start, watch, steer and undo runs')
    .description('Starts, watches, steers and undoes runs.');
  addRunStart(run);
  addRunReads(run);
  addRunSteering(run);
  addRunUndo(run);
  addRunExport(run);
}
