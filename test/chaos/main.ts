import { randomInt } from 'node:crypto';
import { isStewardError } from '#domain/errors.ts';
import { type ChaosOptions, readOptions, USAGE, UsageError } from './options.ts';
import { faultsOf, figuresOf, report } from './report.ts';
import { playSuite } from './suite.ts';

const INTERRUPTED = 130;

/** Whether effects happen once while processes die: figures of this run, on a stack of its own. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const note = (line: string) => process.stderr.write(`${seconds(began)}  ${line}\n`);
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) return;
    note('Stopping');
    stop.abort(new Error('stopped'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    note(`Seed ${options.seed}`);
    const found = await playSuite(options, note, stop.signal);
    const figures = figuresOf(found);
    const faults = faultsOf(figures, options);
    const table = [...report(figures, found), ...faults.map((fault) => `NOT AS IT MUST BE: ${fault}`)];
    (options.json ? process.stderr : process.stdout).write(`${table.join('\n')}\n`);
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    return faults.length === 0 ? 0 : 1;
  } catch (error) {
    if (stop.signal.aborted) return INTERRUPTED;
    note(`The suite failed: ${messageOf(error)}`);
    return 1;
  }
}

function read(): ChaosOptions | null | number {
  try {
    const options = readOptions(process.argv.slice(2), () => randomInt(2 ** 32));
    if (options === null) process.stdout.write(`${USAGE}\n`);
    return options;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${USAGE}\n`);
    return 2;
  }
}

function seconds(began: number): string {
  return `${((performance.now() - began) / 1_000).toFixed(1).padStart(6)} s`;
}

function messageOf(error: unknown): string {
  if (isStewardError(error)) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

process.exit(await main());
