import { randomInt } from 'node:crypto';
import { isStewardError } from '#domain/errors.ts';
import { openHome } from './home.ts';
import { UsageError } from './options.ts';
import { type Stand, withStand } from './stand.ts';

/** A benchmark that takes longer has met something it does not know. */
const LIMIT_MS = 30 * 60_000;
const INTERRUPTED = 130;

/** Says what is done, on stderr. */
export type Note = (line: string) => void;

/** A command that measures. */
export interface BenchCommand<O> {
  readonly usage: string;
  /** The options; null where help was asked for. Throws UsageError. */
  read(args: readonly string[], newSeed: () => number): O | null;
  /** Measures and prints. */
  run(options: O, note: Note, signal: AbortSignal): Promise<void>;
}

/** Runs such a command and returns its exit code. Stops it on a signal, after its time, and when nobody reads any more. */
export async function runCommand<O extends { readonly seed: number }>(command: BenchCommand<O>): Promise<number> {
  const options = optionsOf(command);
  if (options === null) return 0;
  if (options === undefined) return 2;
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
    await command.run(options, note, stop.signal);
    return 0;
  } catch (error) {
    note(`The benchmark failed: ${messageOf(error)}`);
    return stop.signal.aborted ? INTERRUPTED : 1;
  } finally {
    clearTimeout(limit);
  }
}

/** Does something on a stand in the benchmark's own directory, and removes both. */
export async function onOwnStand<T>(note: Note, signal: AbortSignal, work: (stand: Stand) => Promise<T>): Promise<T> {
  const home = await openHome(process.env, signal);
  try {
    return await withStand({ home, env: process.env, onProgress: note, signal }, work);
  } finally {
    await home.remove();
  }
}

/** With its stack where it is not Steward's own. */
function messageOf(error: unknown): string {
  if (isStewardError(error)) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function optionsOf<O>(command: BenchCommand<O>): O | null | undefined {
  try {
    const options = command.read(process.argv.slice(2), () => randomInt(2 ** 32));
    if (options === null) process.stdout.write(`${command.usage}\n`);
    return options;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${command.usage}\n`);
    return undefined;
  }
}

function seconds(began: number): string {
  return `${((performance.now() - began) / 1_000).toFixed(0).padStart(4)} s`;
}
