import { type AuditOptions, readOptions, USAGE, UsageError } from './options.ts';
import { type AuditFigures, attackAudit } from './suite.ts';

/** Whether tampering with the audit log is found, and whether crashes leave gaps in it: figures of this run. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const result = await attackAudit(options, (line) => {
    const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
    process.stderr.write(`${seconds} s  ${line}\n`);
  });
  const { outcomes, crash } = result;
  const missed = outcomes.filter((one) => !one.found);
  const classes = new Set(outcomes.map(({ tampering }) => tampering.class));
  const figures = {
    classes: classes.size,
    // Those all of whose ways were found.
    found: classes.size - new Set(missed.map(({ tampering }) => tampering.class)).size,
    ways: outcomes.length,
    missed: missed.length,
    falseAlarms: result.falseAlarms,
    missingEventsUnderCrash: crash.missing,
    extraEventsUnderCrash: crash.tooMany,
    damageUnderCrash: crash.damage,
    effects: crash.effects,
    kills: crash.kills,
    verifyPerMillionSeconds: result.verifyPerMillionSeconds,
    verifiedEntries: options.entries,
    seed: options.seed,
    ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
  };
  (options.json ? process.stderr : process.stdout).write(`${table(result).join('\n')}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (options.sabotage !== null) return figures.missed > 0 ? 0 : 1;
  const wrong = figures.missed + result.falseAlarms + crash.missing + crash.tooMany + crash.damage;
  return wrong === 0 ? 0 : 1;
}

function table({ outcomes }: AuditFigures): string[] {
  return [
    '',
    ...outcomes.map(({ tampering, found, first }) => {
      const told = found ? 'found' : first ? `taken for ${first.class} at ${first.number}` : 'MISSED';
      return `  ${tampering.class.padEnd(10)} ${tampering.what.padEnd(78)} ${told}`;
    }),
  ];
}

function read(): AuditOptions | null | number {
  try {
    const options = readOptions(process.argv.slice(2));
    if (options === null) process.stdout.write(`${USAGE}\n`);
    return options;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${USAGE}\n`);
    return 2;
  }
}

process.exit(await main());
