import { onOwnStand, runCommand } from './command.ts';
import { measure } from './measure.ts';
import { readOptions, USAGE } from './options.ts';
import { report } from './report.ts';
import { figuresOf } from './totals.ts';

/** What a turn costs and how fast a stop is: figures of this run, on a stack of its own. */
const code = await runCommand({
  usage: USAGE,
  read: readOptions,
  async run(options, note, signal) {
    const measured = await onOwnStand(note, signal, (stand) => measure(stand, options, note));
    const figures = figuresOf(measured, options);
    process.stdout.write(`${report(figures, measured, options).join('\n')}\n`);
    if (options.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  },
});
process.exit(code);
