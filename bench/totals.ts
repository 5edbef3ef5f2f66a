import { availableParallelism } from 'node:os';
import type { CpuTimes } from './cpu.ts';
import { median, percentile, rounded } from './figures.ts';
import { comparedTurns, type Measured } from './measure.ts';
import type { BenchOptions } from './options.ts';
import type { MeasuredRun } from './turns.ts';

/** What stands in the last line of `--json`, by turn where it says so. What was not measured is null. */
export interface BenchFigures {
  readonly temporalStore: string;
  readonly turns: Readonly<Record<string, TurnFigures>>;
  readonly bareTemporalMsPerTurn: number | null;
  readonly temporalFloorMsPerTurn: number | null;
  readonly twoCommitMsPerTurn: number | null;
  readonly cancelMsP50: number | null;
  readonly cancelMsP99: number | null;
  /** A turn of Steward's to one of a loop of the same length, measured in the same rounds. */
  readonly ratioToBareTemporal: number | null;
  readonly ratioToTwoCommits: number | null;
  /** The same to the bare loop, where the model takes 200 ms. */
  readonly modelMs200Ratio: number | null;
  /** Of fifty runs at once, and of fifty bare loops. */
  readonly turnsPerSecond50: number | null;
  readonly bareTurnsPerSecond50: number | null;
  /** In the longest run. */
  readonly rowsReadPerTurn: number | null;
  readonly deltaWritesPerTurn: number | null;
  readonly notifiesPerTurn: number | null;
  /** CPU of all processes together, in the runs that are compared; zero off Linux. */
  readonly cpuMsPerTurn: number | null;
  /** What one further turn costs: the difference between the longest and the shortest run, by turn. */
  readonly marginal: Omit<TurnFigures, 'modelMsPerTurn' | 'executions'> | null;
  /** The milliseconds of a turn of Steward's to those of the loops. */
  readonly ratios: {
    readonly bareTemporal: number | null;
    readonly temporalFloor: number | null;
    readonly twoCommit: number | null;
  };
  readonly bareTemporal: { readonly historyBytesPerTurn: number | null; readonly eventsPerTurn: number | null };
  readonly cpuMsPerTurnOf: Readonly<Record<'steward' | 'bareTemporal' | 'temporalFloor', number | null>>;
  readonly cancels: Readonly<Record<'streaming' | 'tool', CancelFigures>>;
  readonly temporalServer: string;
  readonly postgres: string;
  readonly rounds: number;
  readonly cores: number;
  readonly seed: number;
}

export interface TurnFigures {
  /** Of the workflow, in all: one, and one more for every continue-as-new. */
  readonly executions: number | null;
  readonly msPerTurn: number | null;
  readonly historyBytesPerTurn: number | null;
  readonly eventsPerTurn: number | null;
  readonly rowsWrittenPerTurn: number | null;
  readonly stateWritesPerTurn: number | null;
  readonly rowsReadPerTurn: number | null;
  /** What the writing transactions put into Postgres's log. */
  readonly walBytesPerTurn: number | null;
  /** Rows of streamed text, written and removed. */
  readonly deltaWritesPerTurn: number | null;
  /** NOTIFYs about runs. */
  readonly notifiesPerTurn: number | null;
  /** The part of msPerTurn in which the offline model was at work. */
  readonly modelMsPerTurn: number | null;
}

interface CancelFigures {
  readonly count: number;
  readonly p50: number | null;
  readonly p99: number | null;
  /** Until the run was closed. */
  readonly closedP50: number | null;
  readonly closedP99: number | null;
}

/** Totals of one run of so many turns, as medians over the rounds. */
interface Totals {
  readonly turns: number;
  readonly executions: number;
  readonly ms: number;
  readonly modelMs: number;
  readonly bytes: number;
  readonly events: number;
  readonly written: number;
  readonly read: number;
  readonly writes: number;
  readonly walBytes: number;
  readonly deltas: number;
  readonly notifies: number;
}

/** Puts the figures together. */
export function figuresOf(measured: Measured, options: BenchOptions): BenchFigures {
  const totals = options.turns.map((turns) => totalsOf(measured, turns));
  const longest = totals.at(-1);
  const bare = median(measured.bare.map((loop) => loop.msPerTurn));
  const floor = median(measured.floor.map((loop) => loop.msPerTurn));
  const commits = median(measured.commits);
  const compared = comparedRuns(measured, options);
  const ms = median(compared.map((run) => run.msPerTurn));
  const cpu = rounded(median(compared.map((run) => sumOf(run.cpu))));
  const last = longest === undefined ? undefined : perTurn(longest, longest.turns);
  const slowMs = (of: readonly { readonly msPerTurn: number }[]) => median(of.map(({ msPerTurn }) => msPerTurn));
  const loop = measured.bare[0];
  const loopTurns = loop?.turns ?? Number.NaN;
  const all = measured.cancels.map((cancel) => cancel.ms);
  return {
    temporalStore: measured.temporal.store,
    turns: Object.fromEntries(totals.map((each) => [String(each.turns), perTurn(each, each.turns)])),
    bareTemporalMsPerTurn: rounded(bare),
    temporalFloorMsPerTurn: rounded(floor),
    twoCommitMsPerTurn: rounded(commits, 2),
    cancelMsP50: rounded(percentile(all, 50), 0),
    cancelMsP99: rounded(percentile(all, 99), 0),
    ratioToBareTemporal: rounded(ms / bare, 2),
    ratioToTwoCommits: rounded(ms / commits),
    modelMs200Ratio: rounded(slowMs(measured.slow.runs) / slowMs(measured.slow.bare), 2),
    turnsPerSecond50: rounded(median(measured.crowds.runs)),
    bareTurnsPerSecond50: rounded(median(measured.crowds.loops)),
    rowsReadPerTurn: last?.rowsReadPerTurn ?? null,
    deltaWritesPerTurn: last?.deltaWritesPerTurn ?? null,
    notifiesPerTurn: last?.notifiesPerTurn ?? null,
    cpuMsPerTurn: cpu,
    marginal: marginalOf(totals),
    ratios: {
      bareTemporal: rounded(ms / bare, 2),
      temporalFloor: rounded(ms / floor, 2),
      twoCommit: rounded(ms / commits),
    },
    bareTemporal: {
      historyBytesPerTurn: rounded((loop?.history.bytes ?? Number.NaN) / loopTurns, 0),
      eventsPerTurn: rounded((loop?.history.events ?? Number.NaN) / loopTurns, 2),
    },
    cpuMsPerTurnOf: {
      steward: cpu,
      bareTemporal: rounded(median(measured.bare.map((each) => sumOf(each.cpu)))),
      temporalFloor: rounded(median(measured.floor.map((each) => sumOf(each.cpu)))),
    },
    cancels: { streaming: cancelFigures(measured, 'streaming'), tool: cancelFigures(measured, 'tool') },
    temporalServer: measured.temporal.server,
    postgres: measured.postgres,
    rounds: options.rounds,
    cores: availableParallelism(),
    seed: options.seed,
  };
}

/** The runs that are as long as the loops. */
export function comparedRuns(measured: Measured, options: Pick<BenchOptions, 'turns'>): readonly MeasuredRun[] {
  const turns = comparedTurns(options.turns);
  const same = measured.runs.filter((run) => run.turns === turns);
  return same.length > 0 ? same : measured.runs;
}

/** Milliseconds of all processes. */
export function sumOf(cpu: CpuTimes): number {
  return [...cpu.values()].reduce((sum, ms) => sum + ms, 0);
}

function totalsOf(measured: Measured, turns: number): Totals {
  const runs = measured.runs.filter((run) => run.turns === turns);
  const counted = measured.counted.get(turns);
  return {
    turns,
    executions: median(runs.map((run) => run.history.executions)),
    ms: median(runs.map((run) => run.msPerTurn)) * turns,
    modelMs: median(runs.map((run) => run.modelMsPerTurn)) * turns,
    bytes: median(runs.map((run) => run.history.bytes)),
    events: median(runs.map((run) => run.history.events)),
    written: counted?.written ?? Number.NaN,
    read: counted?.read ?? Number.NaN,
    writes: counted?.writes ?? Number.NaN,
    walBytes: counted?.walBytes ?? Number.NaN,
    deltas: counted?.byTable.find(({ table }) => table === 'steward.agent_run_text_deltas')?.written ?? 0,
    notifies: counted?.notifies ?? Number.NaN,
  };
}

function perTurn(totals: Totals, turns: number): TurnFigures {
  return {
    executions: rounded(totals.executions),
    msPerTurn: rounded(totals.ms / turns),
    historyBytesPerTurn: rounded(totals.bytes / turns, 0),
    eventsPerTurn: rounded(totals.events / turns, 2),
    rowsWrittenPerTurn: rounded(totals.written / turns, 2),
    stateWritesPerTurn: rounded(totals.writes / turns, 2),
    rowsReadPerTurn: rounded(totals.read / turns, 1),
    walBytesPerTurn: rounded(totals.walBytes / turns, 0),
    deltaWritesPerTurn: rounded(totals.deltas / turns, 2),
    notifiesPerTurn: rounded(totals.notifies / turns, 2),
    modelMsPerTurn: rounded(totals.modelMs / turns),
  };
}

function marginalOf(totals: readonly Totals[]): BenchFigures['marginal'] {
  const [first, last] = [totals[0], totals.at(-1)];
  if (first === undefined || last === undefined || first === last) return null;
  const between = Object.fromEntries(
    Object.entries(last).map(([name, value]) => [name, value - first[name as keyof Totals]]),
  ) as unknown as Totals;
  const { modelMsPerTurn: _, executions: __, ...figures } = perTurn(between, between.turns);
  return figures;
}

function cancelFigures(measured: Measured, midst: 'streaming' | 'tool'): CancelFigures {
  const cancels = measured.cancels.filter((cancel) => cancel.midst === midst);
  const ms = cancels.map((cancel) => cancel.ms);
  const closed = cancels.map((cancel) => cancel.closedMs);
  return {
    count: cancels.length,
    p50: rounded(percentile(ms, 50), 0),
    p99: rounded(percentile(ms, 99), 0),
    closedP50: rounded(percentile(closed, 50), 0),
    closedP99: rounded(percentile(closed, 99), 0),
  };
}
