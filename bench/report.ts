import type { CpuTimes } from './cpu.ts';
import { CROWD } from './crowd.ts';
import { columns, median, rounded } from './figures.ts';
import type { EventShare } from './history.ts';
import { type Measured, SLOW_MODEL_MS } from './measure.ts';
import type { BenchOptions } from './options.ts';
import { type BenchFigures, comparedRuns, sumOf, type TurnFigures } from './totals.ts';
import type { MeasuredRun } from './turns.ts';

/** The figures for people. */
export function report(figures: BenchFigures, measured: Measured, options: BenchOptions): readonly string[] {
  const lengths = Object.keys(figures.turns);
  const byLength = (name: keyof TurnFigures) => lengths.map((turns) => text(figures.turns[turns]?.[name]));
  const further = (name: Exclude<keyof TurnFigures, 'modelMsPerTurn' | 'executions'>) => text(figures.marginal?.[name]);
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
      ['  executions of the workflow, in all', ...byLength('executions'), ''],
      ['  history, bytes', ...byLength('historyBytesPerTurn'), further('historyBytesPerTurn')],
      ['  history, events', ...byLength('eventsPerTurn'), further('eventsPerTurn')],
      ['  transactions that write', ...byLength('stateWritesPerTurn'), further('stateWritesPerTurn')],
      ['  rows written', ...byLength('rowsWrittenPerTurn'), further('rowsWrittenPerTurn')],
      ['  log of Postgres, bytes', ...byLength('walBytesPerTurn'), further('walBytesPerTurn')],
      ['    of streamed text', ...byLength('deltaWritesPerTurn'), further('deltaWritesPerTurn')],
      ['  rows read', ...byLength('rowsReadPerTurn'), further('rowsReadPerTurn')],
      ['  notifies', ...byLength('notifiesPerTurn'), further('notifiesPerTurn')],
    ]),
    '',
    ...columns([
      ['On the same servers', 'ms a turn', 'Steward is'],
      ['  model call and effect, rows in Postgres', text(figures.bareTemporalMsPerTurn), times(ratios.bareTemporal)],
      ['  two activities that do nothing', text(figures.temporalFloorMsPerTurn), times(ratios.temporalFloor)],
      ['  two commits', text(figures.twoCommitMsPerTurn), times(ratios.twoCommit)],
      [`  with a model of ${SLOW_MODEL_MS} ms`, slowBare(measured), times(figures.modelMs200Ratio)],
    ]),
    '',
    ...columns([
      [`${CROWD} at once`, 'turns a second'],
      ['  runs of Steward', text(figures.turnsPerSecond50)],
      ['  bare loops', text(figures.bareTurnsPerSecond50)],
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
    ...shares(measured, options),
  ];
}

function slowBare(measured: Measured): string {
  return text(rounded(median(measured.slow.bare.map(({ msPerTurn }) => msPerTurn))));
}

/** Where the time, the bytes and the rows of the compared runs are. */
function shares(measured: Measured, options: BenchOptions): readonly string[] {
  const runs = comparedRuns(measured, options);
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
