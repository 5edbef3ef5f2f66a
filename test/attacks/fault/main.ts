import { type FaultOptions, readOptions, USAGE, UsageError } from './options.ts';
import { attackFaults, type Outcome } from './suite.ts';

/** Whether Steward fails closed, and goes on afterwards: figures of this run. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const outcomes = await attackFaults(options, (line) => {
    const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
    process.stderr.write(`${seconds} s  ${line}\n`);
  });
  const figures = {
    faults: outcomes.length,
    allowedUnderFault: outcomes.reduce((sum, { allowed }) => sum + allowed.length, 0),
    recovered: outcomes.filter(({ stuck }) => stuck === null).length,
    recoveryMsMax: Math.round(Math.max(0, ...outcomes.map(({ recoveryMs }) => recoveryMs))),
    seconds: Math.round((performance.now() - began) / 1_000),
    ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
  };
  (options.json ? process.stderr : process.stdout).write(`${table(outcomes).join('\n')}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (options.sabotage !== null) return figures.allowedUnderFault > 0 ? 0 : 1;
  return figures.allowedUnderFault === 0 && figures.recovered === figures.faults ? 0 : 1;
}

function table(outcomes: readonly Outcome[]): string[] {
  return [
    '',
    `  ${'fault'.padEnd(24)} ${'what'.padEnd(52)} allowed  goes on after`,
    ...outcomes.map(({ fault, allowed, stuck, recoveryMs }) => {
      const after = stuck === null ? `${(recoveryMs / 1_000).toFixed(1)} s` : 'NOT';
      return `  ${fault.name.padEnd(24)} ${fault.what.padEnd(52)} ${String(allowed.length).padStart(7)}  ${after}`;
    }),
  ];
}

function read(): FaultOptions | null | number {
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
