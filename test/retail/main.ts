import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { readRetail, retailFolder } from './data.ts';
import { type RetailOptions, readOptions, USAGE, UsageError } from './options.ts';
import { type Found, playRetail } from './suite.ts';

const INTERRUPTED = 130;

/** Whether recorded requests, played as runs, leave what was recorded: figures of this run, on a stack of its own. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const folder = retailFolder();
  if (!(await exists(join(folder, 'tasks.json')))) {
    const skipped = `there is no recorded data in ${folder}; set RETAIL_DATA to its folder`;
    process.stderr.write(`Skipped: ${skipped}\n`);
    process.stdout.write(`${JSON.stringify({ skipped })}\n`);
    return 0;
  }
  const began = performance.now();
  const note = (line: string) => {
    process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(1).padStart(6)} s  ${line}\n`);
  };
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error('stopped'));
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const found = await playRetail(await readRetail(folder), options, note, stop.signal);
    const figures = figuresOf(found, options);
    const table = reportOf(found, figures);
    (options.json ? process.stderr : process.stdout).write(`${table.join('\n')}\n`);
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    return isAsItMustBe(figures, found, options) ? 0 : 1;
  } catch (error) {
    if (stop.signal.aborted) return INTERRUPTED;
    note(`The suite failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return 1;
  }
}

function figuresOf({ results, kills, seconds }: Found, options: RetailOptions) {
  const sum = (of: (result: Found['results'][number]) => number) => results.reduce((total, one) => total + of(one), 0);
  return {
    tasks: results.length,
    statesEqual: results.filter(({ stateEqual }) => stateEqual).length,
    actions: sum(({ actions }) => actions),
    returnsEqual: sum(({ returnsEqual }) => returnsEqual),
    effectsDuplicated: sum(({ duplicated }) => duplicated),
    seconds,
    ...(options.kills > 0 ? { kills: kills.length, sabotage: options.sabotage } : {}),
  };
}

function isAsItMustBe(figures: ReturnType<typeof figuresOf>, found: Found, options: RetailOptions): boolean {
  const killed = found.kills.length >= options.kills && found.crashes.length === 0;
  if (options.sabotage !== null) return killed && figures.effectsDuplicated > 0;
  return killed && figures.tasks > 0 && found.results.every(({ faults }) => faults.length === 0);
}

function reportOf(found: Found, figures: ReturnType<typeof figuresOf>): readonly string[] {
  const row = (name: string, value: number) => `  ${name.padEnd(34)} ${String(value).padStart(6)}`;
  const killed = Map.groupBy(found.kills, ({ target, point }) => `${target} ${point ?? 'anywhere'}`);
  return [
    '',
    `${figures.tasks} recorded requests, ${figures.seconds} s`,
    row('final states equal', figures.statesEqual),
    row('calls', figures.actions),
    row('returned values equal', figures.returnsEqual),
    row('effects more than once', figures.effectsDuplicated),
    ...(found.kills.length > 0 ? [`${found.kills.length} kills`] : []),
    ...[...killed].map(([what, kills]) => row(what, kills.length)),
    ...found.results
      .filter(({ faults }) => faults.length > 0)
      .flatMap(({ task, run, faults }) => [
        `task ${task} (run ${run}):`,
        ...faults.map((fault) => `  ${fault.slice(0, 600)}`),
      ]),
    ...found.crashes,
  ];
}

function read(): RetailOptions | null | number {
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

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

process.exit(await main());
