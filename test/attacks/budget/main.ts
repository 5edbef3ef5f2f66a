import { randomInt } from 'node:crypto';
import { type BudgetOptions, readOptions, USAGE, UsageError } from './options.ts';
import { attackBudget, type LedgerFigures } from './suite.ts';

/** Whether a call is admitted past a budget: figures of this run, on a Postgres of its own. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const say = (line: string) => {
    const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
    process.stderr.write(`${seconds} s  ${line}\n`);
  };
  say(`Seed ${options.seed}`);
  const ledgers = await attackBudget(options, say);
  const sum = (of: (one: LedgerFigures) => number) => ledgers.reduce((all, one) => all + of(one), 0);
  const figures = {
    ledgers: ledgers.length,
    runs: options.runs,
    attempts: sum((one) => one.attempts),
    refused: sum((one) => one.refused),
    kills: sum((one) => one.kills),
    admittedPastLimit: sum((one) => one.admittedPastLimit),
    overageMicroUsd: sum((one) => one.overageMicroUsd),
    releasedLeaks: sum((one) => one.releasedLeaks),
    stuckReservations: sum((one) => one.stuckReservations),
    errors: sum((one) => one.errors),
    seed: options.seed,
    seconds: Math.round((performance.now() - began) / 1_000),
    ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
  };
  (options.json ? process.stderr : process.stdout).write(`${table(ledgers).join('\n')}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (options.sabotage !== null) return figures.admittedPastLimit > 0 ? 0 : 1;
  // Where nothing was refused and nothing billed above its reservation, nothing was attacked.
  const attacked = ledgers.every((one) => one.refused > 0) && figures.overageMicroUsd > 0;
  if (!attacked) say('The attack was blind: it never came to a limit, or never to overage.');
  const faults = figures.admittedPastLimit + figures.releasedLeaks + figures.stuckReservations;
  return attacked && faults === 0 ? 0 : 1;
}

function table(ledgers: readonly LedgerFigures[]): string[] {
  const columns = [
    ['tight', (one: LedgerFigures) => one.tight],
    ['attempts', (one: LedgerFigures) => one.attempts],
    ['refused', (one: LedgerFigures) => one.refused],
    ['kills', (one: LedgerFigures) => one.kills],
    ['past limit', (one: LedgerFigures) => one.admittedPastLimit],
    ['overage', (one: LedgerFigures) => one.overageMicroUsd],
    ['leaks', (one: LedgerFigures) => one.releasedLeaks],
    ['stuck', (one: LedgerFigures) => one.stuckReservations],
  ] as const;
  const line = (cells: readonly (string | number)[]) => `  ${cells.map((cell) => String(cell).padStart(13)).join('')}`;
  return ['', line(columns.map(([title]) => title)), ...ledgers.map((one) => line(columns.map(([, of]) => of(one))))];
}

function read(): BudgetOptions | null | number {
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

process.exit(await main());
