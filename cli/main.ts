#!/usr/bin/env node
import { CommanderError } from 'commander';
import { EXIT } from './exit-codes.ts';
import { createProgram } from './program.ts';
import { report } from './report.ts';
import { commandName, endWithReader } from './terminal.ts';

endWithReader();
try {
  await createProgram().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help that was asked for is no fault; help shown because nothing was asked for is.
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    process.exitCode = report(error, null, process.argv.includes('--json'), commandName());
  }
}
