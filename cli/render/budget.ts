import {
  type Alarm,
  type Balance,
  type Entry,
  type GetBudgetResponse,
  type GetForecastResponse,
  Level,
} from '#gen/steward/budget/v1/budget_service_pb.ts';
import type { Look } from './look.ts';
import { dollars } from './money.ts';
import { type Column, fields, table } from './table.ts';
import { oneLine, visible } from './text.ts';
import { millis, relative, when } from './time.ts';

const LEVELS: Readonly<Partial<Record<number, string>>> = {
  [Level.RUN]: 'run',
  [Level.USER_MONTH]: 'user',
  [Level.TENANT_MONTH]: 'tenant',
  [Level.PRODUCT_MONTH]: 'product',
};

/** The levels of the tree as a table, in the order given. */
export function balanceTable(levels: readonly Balance[], look: Look): readonly string[] {
  const columns: readonly Column<Balance>[] = [
    { title: 'LEVEL', cell: (one) => LEVELS[one.level] ?? '' },
    { title: 'WHOSE', cell: (one) => visible(one.subject), shrinks: true },
    { title: 'MONTH', cell: (one) => one.month },
    {
      title: 'LIMIT',
      cell: (one) => (one.limitMicroUsd === undefined ? 'none' : dollars(one.limitMicroUsd)),
      right: true,
    },
    { title: 'HELD', cell: (one) => dollars(one.reservedMicroUsd), right: true },
    { title: 'SPENT', cell: (one) => dollars(one.settledMicroUsd), right: true },
    {
      title: 'LEFT',
      cell: (one) => (one.spendableMicroUsd === undefined ? '' : dollars(one.spendableMicroUsd)),
      right: true,
    },
  ];
  return table(columns, levels, look);
}

/** The tree, and what the tenant may run. */
export function budgetLines(answer: GetBudgetResponse, look: Look): readonly string[] {
  const { openRuns, maxConcurrentRuns, startedToday, maxRunsPerDay, queuedRuns } = answer;
  return [
    ...balanceTable(answer.levels, look),
    '',
    ...fields(
      [
        ['Tier', visible(answer.tier)],
        ['Runs at once', `${openRuns} of ${maxConcurrentRuns}${queuedRuns === 0 ? '' : `, ${queuedRuns} queued`}`],
        ['Runs today', `${startedToday} of ${maxRunsPerDay} (UTC)`],
        ['Charged', CHARGES[answer.chargePolicy] ?? visible(answer.chargePolicy)],
      ],
      look,
    ),
  ];
}

const CHARGES: Readonly<Record<string, string>> = {
  as_used: 'every run at what it cost (as_used)',
  refund_failed: 'runs that fail, are terminated or time out are given back (refund_failed)',
  refund_unfinished: 'runs that do not complete are given back (refund_unfinished)',
};

/** What moved an account, in the order given. */
export function entryTable(entries: readonly Entry[], look: Look): readonly string[] {
  const columns: readonly Column<Entry>[] = [
    { title: 'WHEN', cell: (one) => when(one.at, look) },
    { title: 'WHAT', cell: (one) => visible(one.kind) },
    { title: 'AMOUNT', cell: (one) => dollars(one.amountMicroUsd), right: true },
    { title: 'RUN', cell: (one) => visible(one.runId), shrinks: true },
    {
      title: 'WHY',
      cell: (one) => oneLine([one.model, one.bySubject, one.reason].filter(Boolean).join(' ')),
      shrinks: true,
    },
  ];
  return table(columns, entries, look);
}

/** Where the month ends, and by what that is said. */
export function forecastLines(answer: GetForecastResponse, look: Look): readonly string[] {
  const { month, dailyMicroUsd, basisDays, basisMicroUsd, forecastMicroUsd, exhaustedAt } = answer;
  const limit = month?.limitMicroUsd;
  return [
    ...(month === undefined ? [] : balanceTable([month], look)),
    '',
    ...fields(
      [
        ['A day', `${dollars(dailyMicroUsd)}: ${dollars(basisMicroUsd)} over the last ${basisDays.toFixed(1)} days`],
        ['Month ends at', `${dollars(forecastMicroUsd)}${limit === undefined ? '' : ` of ${dollars(limit)}`}`],
        ['Used up', exhaustedAt === undefined ? 'not this month, at this rate' : when(exhaustedAt, look)],
      ],
      look,
    ),
  ];
}

/** Alarms, in the order given. */
export function alarmTable(alarms: readonly Alarm[], look: Look): readonly string[] {
  const columns: readonly Column<Alarm>[] = [
    { title: 'ID', cell: (one) => String(one.id), right: true },
    { title: 'SINCE', cell: (one) => relative(millis(one.at) ?? look.now, look.now) },
    { title: 'ALARM', cell: (one) => stepOf(one) },
    { title: 'ABOUT', cell: (one) => visible(one.subject), shrinks: true },
    { title: 'RUN', cell: (one) => visible(one.runId), shrinks: true },
    { title: 'SEEN BY', cell: (one) => visible(one.acknowledgedBy) || 'nobody', shrinks: true },
    { title: 'EVIDENCE', cell: (one) => oneLine(one.evidenceJson), shrinks: true },
  ];
  return table(columns, alarms, look);
}

function stepOf({ kind, step }: Alarm): string {
  switch (kind) {
    case 'level':
      return `${step} % of its limit`;
    case 'runaway':
      return `${step} times its usual cost`;
    case 'runaway_stopped':
      return `stopped at ${step} times its usual cost`;
    case 'throttled':
      return 'model calls throttled';
    default:
      return `${visible(kind)} ${step} % of usual`;
  }
}
