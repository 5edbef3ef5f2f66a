import { type DrillOptions, readOptions, USAGE, UsageError } from './options.ts';
import { PHASES } from './phases.ts';
import { type Drilled, playDrill } from './suite.ts';

/** Most milliseconds from the kill until nothing of a run can take effect, for 99 of 100 runs. */
const STOP_MS = 2_000;

/** Whether stop means stop: figures of this drill. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const drilled = await playDrill(options, (line) => {
    const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
    process.stderr.write(`${seconds} s  ${line}\n`);
  });
  const { kills, stuck } = drilled;
  const lives = kills.flatMap((one) => one.lives);
  const stops = kills.flatMap((one) => one.stopMs).toSorted((a, b) => a - b);
  const figures = {
    runs: lives.length,
    phases: Object.fromEntries(PHASES.map((name) => [name, lives.filter(({ phase }) => phase === name).length])),
    stopMsP50: percentile(stops, 50),
    stopMsP99: percentile(stops, 99),
    lastCommitMs: Math.round(Math.max(0, ...kills.map((one) => one.lastCommitMs ?? 0))),
    effectsAfterStop: kills.reduce((sum, one) => sum + one.after.length, 0),
    stragglers: kills.reduce((sum, one) => sum + one.stragglers.length, 0),
    stuck: stuck.length,
    seed: options.seed,
    seconds: Math.round((performance.now() - began) / 1_000),
    ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
  };
  (options.json ? process.stderr : process.stdout).write(`${table(drilled).join('\n')}\n`);
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  const found = figures.effectsAfterStop + figures.stragglers;
  if (options.sabotage !== null) return found > 0 ? 0 : 1;
  return found === 0 && figures.stuck === 0 && figures.stopMsP99 < STOP_MS ? 0 : 1;
}

function percentile(sorted: readonly number[], share: number): number {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * share) / 100) - 1)] ?? 0);
}

function table({ kills, stuck }: Drilled): string[] {
  const lines = ['', `  ${'kill'.padEnd(16)} runs  set ms  returned ms  last commit ms  after  stragglers  said`];
  for (const one of kills) {
    const { stopped } = one.answer;
    const said =
      `${stopped?.runsCancelled} cancelled, ${stopped?.runsPaused} paused, ${stopped?.approvalsVoided} approvals void, ` +
      `${stopped?.callsAborted} calls aborted, ${stopped?.callsDone} done, ` +
      `${(stopped?.callsUnconfirmed ?? 0) + (stopped?.runsUnconfirmed ?? 0)} not confirmed`;
    const last = one.lastCommitMs === null ? '-' : String(Math.round(one.lastCommitMs));
    lines.push(
      `  ${one.name.padEnd(16)} ${String(one.lives.length).padStart(4)}  ${ms(one.setAt - one.calledAt, 6)}  ` +
        `${ms(one.returnedAt - one.calledAt, 11)}  ${last.padStart(14)}  ${String(one.after.length).padStart(5)}  ` +
        `${String(one.stragglers.length).padStart(10)}  ${said}`,
    );
    for (const line of [...one.after, ...one.stragglers].slice(0, 10)) lines.push(`      ${line}`);
  }
  return [...lines, ...stuck.map((line) => `  ${line}`)];
}

const ms = (value: number, width: number): string => String(Math.round(value)).padStart(width);

function read(): DrillOptions | null | number {
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
