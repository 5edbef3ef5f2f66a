import type { TestStack } from '#test/support/stack.ts';
import type { Pause } from './supervisor.ts';

/** An event of a run's journal; its time in milliseconds since 1970. */
export interface JournalEvent {
  readonly run: string;
  readonly at: number;
  readonly kind?: string;
}

/** How long a run that a killed worker was at had to wait, in milliseconds. */
export interface Recovery {
  readonly run: string;
  /** From the worker saying that it is back to the run's first new event; 0 where that came before. */
  readonly backToStep: number;
  /** From the kill to it. */
  readonly killToStep: number;
  /** What the killed worker was at, and the event by which the run went on. */
  readonly story?: string;
}

/** What a worker writes itself: what the guard has written may have been asked for by one that is dead by now. */
const OF_WORKERS = [
  'run.started',
  'turn.started',
  'turn.answered',
  'turn.failed',
  'tool.done',
  'tool.denied',
  'tool.refused',
  'tool.failed',
  'tool.outcome_unknown',
  'run.closed',
];

/** The events by which a run goes on, in order. Each has the time at which its transaction began. */
export async function readEvents(s: TestStack): Promise<readonly JournalEvent[]> {
  return await s.query<{ run: string; at: number; kind: string }>(
    `select run_id as run, kind, (extract(epoch from at) * 1000)::float8 as at from steward.agent_run_events
     where kind = any ($1) order by at`,
    [OF_WORKERS],
  );
}

/**
 * The waits of the runs that killed workers were at. A run that a worker did not get back to before it was killed again
 * is the next worker's; the time is counted from the last one. So it is where a server was killed, or the worker
 * replaced, before the run went on.
 */
export function recoveriesOf(kills: readonly Pause[], events: readonly JournalEvent[]): readonly Recovery[] {
  const found: Recovery[] = [];
  /** Runs that wait, and since when. */
  let waiting = new Map<string, { readonly since: number; readonly was: string }>();
  for (const [index, kill] of kills.entries()) {
    for (const { run, what } of kill.work) {
      if (run === null) continue;
      const { since, was } = waiting.get(run) ?? { since: kill.at, was: '' };
      waiting.set(run, { since, was: was === '' ? what : `${was}, ${what}` });
    }
    const { readyAt } = kill;
    if (readyAt === null) continue;
    const until = kills[index + 1]?.at ?? Number.POSITIVE_INFINITY;
    const still: typeof waiting = new Map();
    for (const [run, wait] of waiting) {
      const next = events.find((event) => event.run === run && event.at > kill.at);
      if (next !== undefined && next.at < until) {
        const { since, was } = wait;
        const story = `${was}, then ${next.kind}`;
        found.push({ run, backToStep: Math.max(0, next.at - readyAt), killToStep: next.at - since, story });
      } else still.set(run, wait);
    }
    waiting = still;
  }
  return found;
}
