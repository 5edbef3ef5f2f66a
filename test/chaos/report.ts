import { columns, percentile, rounded } from '#bench/figures.ts';
import type { AuditFound } from './audit.ts';
import type { Count } from './count.ts';
import type { ChaosOptions } from './options.ts';
import type { Watched } from './people.ts';
import { LATE, LATE_DONE, SERVERS } from './points.ts';
import type { Note } from './probe.ts';
import type { Recovery } from './recovery.ts';
import type { Kill } from './supervisor.ts';

/** All that a suite has found out. */
export interface Found {
  readonly options: ChaosOptions;
  readonly count: Count;
  readonly audit: AuditFound;
  readonly kills: readonly Kill[];
  readonly notes: readonly Note[];
  readonly recoveries: readonly Recovery[];
  readonly watched: readonly Watched[];
  readonly crashes: readonly string[];
  readonly mailsRepeated: number;
  /** How often the worker was replaced by one of the next release. */
  readonly rolls: number;
  /** Workflow tasks that failed because the code did not fit the history. */
  readonly nonDeterminism: number;
  /** Notifications that never reached a process. */
  readonly dropped: number;
  readonly seconds: number;
}

/** The figures: what the last line of stdout says. Times in milliseconds. */
export type Figures = ReturnType<typeof figuresOf>;

export function figuresOf(found: Found) {
  const { options, count, kills, recoveries, watched } = found;
  const { completed, effectsExpected, effectsFound, duplicated, lost, unknown, stuck } = count;
  const held = (one: Recovery) => found.notes.some((note) => note.point === LATE && isHeld(one, note.what));
  const free = recoveries.filter((one) => !held(one));
  const back = free.map(({ backToStep }) => backToStep);
  const servers = kills.flatMap(({ target, at, readyAt }) =>
    (target === 'postgres' || target === 'temporal') && readyAt !== null ? [readyAt - at] : [],
  );
  const whole = free.map(({ killToStep }) => killToStep);
  return {
    runs: options.runs,
    kills: kills.length,
    killsInFlight: kills.filter(({ work }) => work.length > 0).length,
    completed,
    effectsExpected,
    effectsFound,
    duplicated,
    lost,
    unknown,
    stuck,
    recoveryMsP50: rounded(percentile(back, 50), 0),
    recoveryMsP99: rounded(percentile(back, 99), 0),
    seed: options.seed,
    sabotage: options.sabotage,
    contradicted: count.contradicted,
    disagreements: count.disagreements,
    auditWanted: found.audit.wanted,
    auditMissing: found.audit.missing,
    auditSurplus: found.audit.surplus,
    auditDamage: found.audit.damage,
    recoveries: free.length,
    recoveriesHeldLate: recoveries.length - free.length,
    outageMsP50: rounded(percentile(whole, 50), 0),
    outageMsP99: rounded(percentile(whole, 99), 0),
    late: found.notes.filter(({ point }) => point === LATE).length,
    lateDone: found.notes.filter(({ point }) => point === LATE_DONE).length,
    mailsRepeated: found.mailsRepeated,
    watchErrors: watched.reduce((sum, { wrong }) => sum + wrong, 0),
    crashes: found.crashes.length,
    rolls: found.rolls,
    nonDeterminism: found.nonDeterminism,
    clockSkewMs: options.skewMs * 2,
    notifiesDropped: found.dropped,
    serverBackMsP99: rounded(percentile(servers, 99), 0),
    targets: killsBy(kills, ({ target }) => target),
    killsBy: killsBy(kills, ({ target, point }) => `${target} ${point ?? 'anywhere'}`),
    seconds: found.seconds,
  };
}

/**
 * Whether what a run waited for was a catalog that the suite held back: until that call has ended or run out of time,
 * nobody can tell what became of it, however soon the worker is back.
 */
function isHeld({ run, story = '' }: Recovery, late: string): boolean {
  const [of, tool] = late.split(' ');
  return of === run && (story.includes(`execute ${tool}`) || story.includes('resolve'));
}

function killsBy(kills: readonly Kill[], nameOf: (kill: Kill) => string): Readonly<Record<string, number>> {
  const by: Record<string, number> = {};
  for (const kill of kills) {
    const name = nameOf(kill);
    by[name] = (by[name] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(by).sort(([a], [b]) => a.localeCompare(b)));
}

/** A worker that is back has gone on with the runs of the one before within this, in milliseconds. */
const RECOVERED_MS = 6_000;
/** A percentile of fewer says nothing. */
const FEWEST_RECOVERIES = 10;

/** What is not as it must be; empty where all is well. */
export function faultsOf(figures: Figures, options: ChaosOptions): readonly string[] {
  if (options.sabotage === 'patched') {
    return figures.nonDeterminism > 0 ? [] : ['the patch was left out, and every run went on'];
  }
  if (options.sabotage !== null) {
    return figures.duplicated > 0 ? [] : [`${options.sabotage} was switched off, and nothing was duplicated`];
  }
  const faults: string[] = [];
  const must = (name: keyof Figures, wanted: number) => {
    if (figures[name] !== wanted) faults.push(`${name} is ${String(figures[name])} and must be ${wanted}`);
  };
  must('kills', options.kills);
  must('completed', options.runs);
  must('rolls', 1);
  for (const server of SERVERS) {
    if (options.servers >= SERVERS.length && !(server in figures.targets)) faults.push(`${server} was never killed`);
  }
  if (options.late > 0 && figures.late === 0) faults.push('no call was begun late');
  if (options.drop > 0 && options.kills > 0 && figures.notifiesDropped === 0) faults.push('no notification got lost');
  must('effectsFound', figures.effectsExpected);
  for (const name of [
    'duplicated',
    'lost',
    'stuck',
    'nonDeterminism',
    'contradicted',
    'disagreements',
    'auditMissing',
    'auditSurplus',
    'auditDamage',
    'watchErrors',
    'crashes',
  ] as const) {
    must(name, 0);
  }
  if (figures.recoveries >= FEWEST_RECOVERIES && (figures.recoveryMsP99 ?? 0) >= RECOVERED_MS) {
    faults.push(`recoveryMsP99 is ${figures.recoveryMsP99} and must be under ${RECOVERED_MS}`);
  }
  return faults;
}

/** The figures for people. */
export function report(figures: Figures, found: Found): readonly string[] {
  const text = (value: number | null) => (value === null ? '-' : String(value));
  const workers = found.kills.filter(({ target }) => target === 'worker').length;
  return [
    '',
    ...columns([
      [`${figures.runs} runs, ${figures.seconds} s, seed ${figures.seed}`, ''],
      ['  completed', text(figures.completed)],
      ['  stuck', text(figures.stuck)],
      ['Effects', ''],
      ['  expected', text(figures.effectsExpected)],
      ['  found in the catalogs', text(figures.effectsFound)],
      ['  duplicated', text(figures.duplicated)],
      ['  lost', text(figures.lost)],
      ['  outcome unknown', text(figures.unknown)],
      ['  done, but reported otherwise', text(figures.contradicted)],
      ['  late calls', text(figures.late)],
      ['    of them in time to take effect', text(figures.lateDone)],
      ['  mails handed over again and dropped there', text(figures.mailsRepeated)],
      ['Verdicts, grants, decisions, effects, starts and ends', text(figures.auditWanted)],
      ['  without an audit entry', text(figures.auditMissing)],
      ['  audit entries beyond them', text(figures.auditSurplus)],
      ['  damage the verifier found', text(figures.auditDamage)],
      [`${figures.kills} kills, ${figures.killsInFlight} of them with something in flight`, ''],
      ...Object.entries(figures.killsBy).map(([name, number]) => [`  ${name}`, String(number)]),
      ['Worker replaced by the next release', String(figures.rolls)],
      ['  tasks that did not fit their history', String(figures.nonDeterminism)],
      ['Clocks apart, ms', String(figures.clockSkewMs)],
      ['Notifications lost', String(figures.notifiesDropped)],
      ['Postgres or Temporal killed to serving again, ms, p99', text(figures.serverBackMsP99)],
      [`${workers} killed workers were at runs`, text(figures.recoveries)],
      ['  of them at calls that a catalog was holding back, not counted below', text(figures.recoveriesHeldLate)],
      ['  worker back to first new event, ms, p50', text(figures.recoveryMsP50)],
      ['  p99', text(figures.recoveryMsP99)],
      ['  kill to first new event, ms, p50', text(figures.outageMsP50)],
      ['  p99', text(figures.outageMsP99)],
    ]),
    ...found.recoveries
      .filter(({ backToStep }) => backToStep >= RECOVERED_MS)
      .map(
        ({ run, backToStep, story }) =>
          `slow: run ${run} went on ${Math.round(backToStep)} ms after its worker was back: ${story}`,
      ),
    ...found.crashes,
    '',
  ];
}
