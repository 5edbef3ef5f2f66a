import { shuffled } from '#bench/figures.ts';
import type { ServerName } from '#deploy/dev/stack.ts';
import { POINTS, SERVERS, TARGETS, type Target } from './points.ts';

/** One process that is to be killed: at a point, or where null, wherever it is. */
export interface PlannedKill {
  readonly target: Target | ServerName;
  readonly point: string | null;
  /** Share of all effects that must be done first: what counts is the runs' progress, not the machine's speed. */
  readonly at: number;
}

export interface Plan {
  /** In the order in which they are due. */
  readonly kills: readonly PlannedKill[];
  /** For each run, the share of all effects that must be done before it is started; half start at once. */
  readonly starts: readonly number[];
  /** When a late call is due, and where. */
  readonly late: readonly { readonly target: 'projects' | 'messaging'; readonly at: number }[];
}

type Aim = Pick<PlannedKill, 'target' | 'point'>;

/** What a short suite kills, in this order. */
const FIRST: readonly Aim[] = [
  { target: 'worker', point: 'after-effect' },
  { target: 'projects', point: 'after-commit' },
  { target: 'worker', point: 'after-model-answer' },
  { target: 'run-api', point: 'before-start' },
  { target: 'guard', point: 'after-authorize' },
  { target: 'messaging', point: 'after-far-effect' },
];
/** The last starts and kills come while there is still work for them. */
const LAST_START = 0.35;
const LAST_KILL = 0.75;
/** Each run sends one mail, so that there are few; kills that wait for one come earlier. */
const LAST_MAIL_KILL = 0.4;

/** Every point and, as often, every process wherever it happens to be; the worker, which holds the runs, more often. */
function everyAim(): readonly Aim[] {
  const points = TARGETS.flatMap((target) => Object.keys(POINTS[target]).map((point): Aim => ({ target, point })));
  const anywhere = TARGETS.map((target): Aim => ({ target, point: null }));
  return [...points, ...anywhere, ...points.filter(({ target }) => target === 'worker'), ...anywhere];
}

/** Which processes are killed, where and when: the same for the same seed. */
export function planOf(
  options: { readonly runs: number; readonly kills: number; readonly servers: number; readonly late: number },
  random: () => number,
): Plan {
  const { runs, kills, servers, late } = options;
  const atOnce = Math.ceil(runs / 2);
  const starts = Array.from({ length: runs }, (_, run) =>
    run < atOnce ? 0 : (LAST_START * (run - atOnce + 1)) / (runs - atOnce),
  );
  const aims = [...FIRST];
  const processes = kills - servers;
  while (aims.length < processes) aims.push(...shuffled(everyAim(), random));
  const far = Array.from(
    { length: servers },
    (_, index): Aim => ({ target: SERVERS[index % 2] ?? 'postgres', point: null }),
  );
  const chosen = shuffled([...aims.slice(0, processes), ...far], random);
  const atStart = chosen.filter(({ target, point }) => target === 'run-api' && point !== null);
  const later = chosen.filter((aim) => !atStart.includes(aim));
  return {
    kills: [
      // Each needs a start of its own: the first of all, then one of those that come later.
      ...atStart.map((aim, index) => ({ ...aim, at: index === 0 ? 0 : justBefore(starts, atOnce + index - 1) })),
      ...later.map((aim, index) => ({ ...aim, at: (lastOf(aim) * (index + random())) / later.length })),
    ].sort((a, b) => a.at - b.at),
    starts,
    late: Array.from({ length: late }, (_, index) => ({
      target: index % 4 === 3 ? 'messaging' : 'projects',
      at: (0.8 * (index + random())) / late,
    })),
  };
}

function lastOf({ target, point }: Aim): number {
  return target === 'messaging' && point !== null ? LAST_MAIL_KILL : LAST_KILL;
}

function justBefore(starts: readonly number[], run: number): number {
  return Math.max(0, (starts[run] ?? LAST_START) - 0.01);
}
