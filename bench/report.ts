import { availableParallelism } from 'node:os';
import type { CpuTimes } from './cpu.ts';
import { columns, median, percentile, rounded } from './figures.ts';
import type { EventShare } from './history.ts';
import type { Measured } from './measure.ts';
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
  /** What one further turn costs: the difference between the longest and the shortest run, by turn. */
  readonly marginal: Omit<TurnFigures, 'modelMsPerTurn'> | null;
  /** The longest run's milliseconds per turn to those of the loops. */
  readonly ratios: {
    readonly bareTemporal: number | null;
    readonly temporalFloor: number | null;
    readonly twoCommit: number | null;
  };
  readonly bareTemporal: { readonly historyBytesPerTurn: number | null; readonly eventsPerTurn: number | null };
  /** CPU of all processes together, in the longest run and in the loops; zero off Linux. */
  readonly cpuMsPerTurn: Readonly<Record<'steward' | 'bareTemporal' | 'temporalFloor', number | null>>;
  readonly cancels: Readonly<Record<'streaming' | 'tool', CancelFigures>>;
  readonly temporalServer: string;
  readonly postgres: string;
  readonly rounds: number;
  readonly cores: number;
  readonly seed: number;
}

export interface TurnFigures {
  readonly msPerTurn: number | null;
  readonly historyBytesPerTurn: number | null;
  readonly eventsPerTurn: number | null;
  readonly rowsWrittenPerTurn: number | null;
  readonly stateWritesPerTurn: number | null;
  readonly rowsReadPerTurn: number | null;
  /** What the writing transactions put into Postgres's log. */
  readonly walBytesPerTurn: number | null;
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
  readonly ms: number;
  readonly modelMs: number;
  readonly bytes: number;
  readonly events: number;
  readonly written: number;
  readonly read: number;
  readonly writes: number;
  readonly walBytes: number;
}

/** Puts the figures together. */
export function figuresOf(measured: Measured, options: BenchOptions): BenchFigures {
  const totals = options.turns.map((turns) => totalsOf(measured, turns));
  const longest = totals.at(-1);
  const bare = median(measured.bare.map((loop) => loop.msPerTurn));
  const floor = median(measured.floor.map((loop) => loop.msPerTurn));
  const commits = median(measured.commits);
  const ms = longest === undefined ? Number.NaN : longest.ms / longest.turns;
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
    cpuMsPerTurn: {
      steward: rounded(median(longestRuns(measured).map((run) => sumOf(run.cpu)))),
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

function longestRuns(measured: Measured): readonly MeasuredRun[] {
  const longest = Math.max(...measured.runs.map((run) => run.turns));
  return measured.runs.filter((run) => run.turns === longest);
}

function sumOf(cpu: CpuTimes): number {
  return [...cpu.values()].reduce((sum, ms) => sum + ms, 0);
}

function totalsOf(measured: Measured, turns: number): Totals {
  const runs = measured.runs.filter((run) => run.turns === turns);
  const counted = measured.counted.get(turns);
  return {
    turns,
    ms: median(runs.map((run) => run.msPerTurn)) * turns,
    modelMs: median(runs.map((run) => run.modelMsPerTurn)) * turns,
    bytes: median(runs.map((run) => run.history.bytes)),
    events: median(runs.map((run) => run.history.events)),
    written: counted?.written ?? Number.NaN,
    read: counted?.read ?? Number.NaN,
    writes: counted?.writes ?? Number.NaN,
    walBytes: counted?.walBytes ?? Number.NaN,
  };
}

function perTurn(totals: Totals, turns: number): TurnFigures {
  return {
    msPerTurn: rounded(totals.ms / turns),
    historyBytesPerTurn: rounded(totals.bytes / turns, 0),
    eventsPerTurn: rounded(totals.events / turns, 2),
    rowsWrittenPerTurn: rounded(totals.written / turns, 2),
    stateWritesPerTurn: rounded(totals.writes / turns, 2),
    rowsReadPerTurn: rounded(totals.read / turns, 1),
    walBytesPerTurn: rounded(totals.walBytes / turns, 0),
    modelMsPerTurn: rounded(totals.modelMs / turns),
  };
}

function marginalOf(totals: readonly Totals[]): BenchFigures['marginal'] {
  const [first, last] = [totals[0], totals.at(-1)];
  if (first === undefined || last === undefined || first === last) return null;
  const between = Object.fromEntries(
    Object.entries(last).map(([name, value]) => [name, value - first[name as keyof Totals]]),
  ) as unknown as Totals;
  const { modelMsPerTurn: _, ...figures } = perTurn(between, between.turns);
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

/** The figures for people. */
export function report(figures: BenchFigures, measured: Measured): readonly string[] {
  const lengths = Object.keys(figures.turns);
  const byLength = (name: keyof TurnFigures) => lengths.map((turns) => text(figures.turns[turns]?.[name]));
  const further = (name: Exclude<keyof TurnFigures, 'modelMsPerTurn'>) => text(figures.marginal?.[name]);
  const { ratios, cancels } = figures;
  return [
    '',
    `Temporal ${figures.temporalServer} on ${figures.temporalStore}, Postgres ${figures.postgres}, ` +
      `${figures.cores} cores, ${figures.rounds} rounds, seed ${figures.seed}`,
    '',
    ...columns([
      ['A turn of Steward, in a run of', ...lengths, 'a further one'],
      ['  milliseconds', ...byLength('msPerTurn'), further('msPerTurn')],
      ['    of them the offline model', ...byLength('modelMsPerTurn'), ''],
      ['  history, bytes', ...byLength('historyBytesPerTurn'), further('historyBytesPerTurn')],
      ['  history, events', ...byLength('eventsPerTurn'), further('eventsPerTurn')],
      ['  transactions that write', ...byLength('stateWritesPerTurn'), further('stateWritesPerTurn')],
      ['  rows written', ...byLength('rowsWrittenPerTurn'), further('rowsWrittenPerTurn')],
      ['  log of Postgres, bytes', ...byLength('walBytesPerTurn'), further('walBytesPerTurn')],
      ['  rows read', ...byLength('rowsReadPerTurn'), further('rowsReadPerTurn')],
    ]),
    '',
    ...columns([
      ['On the same servers', 'ms a turn', 'Steward is'],
      ['  two activities, rows in Postgres', text(figures.bareTemporalMsPerTurn), times(ratios.bareTemporal)],
      ['  two activities that do nothing', text(figures.temporalFloorMsPerTurn), times(ratios.temporalFloor)],
      ['  two commits', text(figures.twoCommitMsPerTurn), times(ratios.twoCommit)],
    ]),
    '',
    ...columns([
      ['CancelRun sent, to ended, in ms', 'runs', 'p50', 'p99', 'closed p50', 'p99'],
      ...(['streaming', 'tool'] as const).map((midst) => [
        midst === 'tool' ? '  the call of a tool' : "  the provider's stream",
        String(cancels[midst].count),
        text(cancels[midst].p50),
        text(cancels[midst].p99),
        text(cancels[midst].closedP50),
        text(cancels[midst].closedP99),
      ]),
    ]),
    '',
    ...shares(measured),
  ];
}

/** Where the time, the bytes and the rows of the longest run are. */
function shares(measured: Measured): readonly string[] {
  const runs = longestRuns(measured);
  const [longest] = runs;
  const counted = longest === undefined ? undefined : measured.counted.get(longest.turns);
  if (longest === undefined || counted === undefined) return [];
  const of = (total: number) => text(rounded(total / longest.turns, 2));
  return [
    ...cpuShares(measured, runs),
    ...columns([
      [`History of ${longest.turns} turns, by turn`, 'events', 'bytes', 'bytes each'],
      ...longest.history.byType.map((share: EventShare) => [
        `  ${share.type}`,
        of(share.count),
        of(share.bytes),
        text(rounded(share.bytes / share.count, 0)),
      ]),
    ]),
    '',
    ...columns([
      [`Rows of ${longest.turns} turns, by turn`, 'written', 'read'],
      ...counted.byTable.map(({ table, written, read }) => [`  ${table}`, of(written), of(read)]),
    ]),
    '',
  ];
}

function cpuShares(measured: Measured, runs: readonly MeasuredRun[]): readonly string[] {
  const three: readonly (readonly { readonly cpu: CpuTimes }[])[] = [runs, measured.bare, measured.floor];
  const names = [...new Set(three.flatMap((each) => each.flatMap(({ cpu }) => [...cpu.keys()])))];
  if (names.length === 0) return [];
  const used = (name: string) => three.map((each) => median(each.map(({ cpu }) => cpu.get(name) ?? 0)));
  const rows = names.map((name) => ({ name, used: used(name) })).filter((row) => row.used.some((ms) => ms >= 0.1));
  rows.sort((a, b) => (b.used[0] ?? 0) - (a.used[0] ?? 0));
  const together = three.map((each) => text(rounded(median(each.map(({ cpu }) => sumOf(cpu))))));
  return [
    ...columns([
      ['CPU of a turn, in ms', 'Steward', 'rows in Postgres', 'nothing'],
      ...rows.map((row) => [`  ${row.name}`, ...row.used.map((ms) => text(rounded(ms)))]),
      ['  together', ...together],
    ]),
    '',
  ];
}

const text = (value: number | null | undefined): string =>
  value === null || value === undefined ? '-' : String(value);
const times = (value: number | null): string => (value === null ? '-' : `${value}x`);
