import { randomOf } from '#bench/figures.ts';
import { type LimitsOptions, readOptions, USAGE, UsageError } from './options.ts';
import { type Outcome, phases } from './phases.ts';
import { type LimitsWorld, limitsWorld } from './world.ts';

/** Whether limits hold while many race for them: figures of this run. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const world = await limitsWorld();
  const outcomes: Outcome[] = [];
  try {
    if (options.sabotage === 'windows') await forget(world);
    for await (const outcome of phases(world, options.runs, randomOf(options.seed))) {
      const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
      const { name, attempts, admitted, overshoot, wronglyRefused } = outcome;
      process.stderr.write(
        `${seconds} s  ${name}: ${admitted} of ${attempts}, overshoot ${overshoot}, wrongly refused ${wronglyRefused}\n`,
      );
      outcomes.push(outcome);
    }
  } finally {
    await world.stop();
  }
  const sum = (of: (outcome: Outcome) => number) => outcomes.reduce((total, one) => total + of(one), 0);
  const figures = {
    attempts: sum(({ attempts }) => attempts),
    admitted: sum(({ admitted }) => admitted),
    overshoot: sum(({ overshoot }) => overshoot),
    wronglyRefused: sum(({ wronglyRefused }) => wronglyRefused),
    phases: outcomes.length,
    seed: options.seed,
    seconds: Math.round((performance.now() - began) / 1_000),
    ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
  };
  (options.json ? process.stderr : process.stdout).write(`${table(outcomes).join('\n')}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (options.sabotage !== null) return figures.overshoot > 0 ? 0 : 1;
  return figures.overshoot === 0 && figures.wronglyRefused === 0 ? 0 : 1;
}

/** What is reserved is given back in the same breath, so that no window ever holds anything. */
async function forget({ bench }: LimitsWorld): Promise<void> {
  await bench.database.query(`
    create function public.forget() returns trigger language plpgsql as
    $$ begin new.state := 'released'; return new; end $$`);
  await bench.database.query(`
    create trigger forget before insert on steward.quantity_windows for each row execute function public.forget()`);
}

function table(outcomes: readonly Outcome[]): string[] {
  return [
    '',
    `  ${'window'.padEnd(30)} attempts admitted overshoot wrongly refused`,
    ...outcomes.map(({ name, attempts, admitted, overshoot, wronglyRefused }) => {
      const cells = [String(attempts).padStart(8), String(admitted).padStart(8), String(overshoot).padStart(9)];
      return `  ${name.padEnd(30)} ${cells.join(' ')} ${String(wronglyRefused).padStart(15)}`;
    }),
  ];
}

function read(): LimitsOptions | null | number {
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
