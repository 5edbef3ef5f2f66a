import { onOwnStand, runCommand } from '../command.ts';
import { installPeers } from './install.ts';
import { compare } from './measure.ts';
import { readOptions, USAGE } from './options.ts';
import { figuresOf, report } from './report.ts';

/** The same agent on Steward and on others, in one run. */
const code = await runCommand({
  usage: USAGE,
  read: readOptions,
  async run(options, note, signal) {
    await installPeers(note, signal);
    const compared = await onOwnStand(note, signal, (stand) => compare(stand, options, note));
    const figures = figuresOf(compared, options);
    process.stdout.write(`${report(figures, compared, options).join('\n')}\n`);
    if (options.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  },
});
process.exit(code);
