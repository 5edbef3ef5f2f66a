import { randomInt } from 'node:crypto';
import { isStewardError } from '#domain/errors.ts';
import { type BenchHome, openHome } from './home.ts';
import { type Measured, measure } from './measure.ts';
import { type BenchOptions, readOptions, USAGE, UsageError } from './options.ts';
import { report } from './report.ts';
import { withStand } from './stand.ts';
import { figuresOf } from './totals.ts';

/** A benchmark that takes longer has met something it does not know. */
const LIMIT_MS = 30 * 60_000;
const INTERRUPTED = 130;

/** What a turn costs and how fast a stop is: figures of this run, on a stack of its own. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const note = (line: string) => process.stderr.write(`${seconds(began)}  ${line}\n`);
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) return;
    stop.abort(new Error('stopped'));
    note('Stopping');
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);
  // Nobody reads any more: what is up must be taken down all the same.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', onSignal);
  const limit = setTimeout(() => stop.abort(new Error(`not done in ${LIMIT_MS / 60_000} minutes`)), LIMIT_MS);
  try {
    note(`Seed ${options.seed}`);
    const measured = await onOwnStand(options, note, stop.signal);
    const figures = figuresOf(measured, options);
    process.stdout.write(`${report(figures, measured, options).join('\n')}\n`);
    if (options.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
    return 0;
  } catch (error) {
    note(`The benchmark failed: ${messageOf(error)}`);
    return stop.signal.aborted ? INTERRUPTED : 1;
  } finally {
    clearTimeout(limit);
  }
}

function read(): BenchOptions | null | number {
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

async function onOwnStand(options: BenchOptions, note: (line: string) => void, signal: AbortSignal): Promise<Measured> {
  const home: BenchHome = await openHome(process.env, signal);
  try {
    const stand = { home, env: process.env, onProgress: note, signal };
    return await withStand(stand, (up) => measure(up, options, note));
  } finally {
    await home.remove();
  }
}

function seconds(began: number): string {
  return `${((performance.now() - began) / 1_000).toFixed(0).padStart(4)} s`;
}

function messageOf(error: unknown): string {
  if (isStewardError(error)) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

process.exit(await main());
