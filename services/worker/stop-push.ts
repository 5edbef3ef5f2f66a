import { type Kysely, sql } from 'kysely';
import type { StopPush, StopWork } from '#activities/run-context.ts';
import { listen } from '#platform/database/listen.ts';
import { CANCEL_CHANNEL } from '#platform/database/notify.ts';
import { SWITCH_CHANNEL } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';

/** A push can be lost: what is under way is compared with what stands in the database this often. */
const LOOK_MS = 1_000;

interface Work {
  readonly tenant: string;
  readonly run: string;
  readonly call: string;
  readonly stop: (what: StopWork) => void;
}

/** What the database says is to stop: null where the work goes on. */
interface Found {
  readonly run: string;
  readonly call: string;
  readonly what: 'cancel' | 'pause' | 'none' | 'refuse' | null;
}

export interface StopPushOptions {
  readonly url: string;
  /** As the worker's role. */
  readonly db: Kysely<Database>;
  /** The database could not be asked; it is asked again. */
  readonly onError?: (error: unknown) => void;
}

/**
 * Stops activities of this worker at once: those of a run that is being cancelled, whose id comes over LISTEN, and those
 * in the scope of a kill switch, for which one query says what of the work under way is in its scope. The query is
 * repeated every second while there is work, so a push that is lost costs a second.
 */
export function listenForStops(
  options: StopPushOptions,
): StopPush & { readonly ready: Promise<void>; close(): Promise<void> } {
  const running = new Map<string, Set<Work>>();
  let epoch = 0;
  let closed = false;
  let looking: Promise<void> | null = null;
  let again = false;

  async function lookOnce(): Promise<void> {
    const work = [...running.values()].flatMap((set) => [...set]);
    if (work.length === 0) return;
    const columns = [work.map((one) => one.tenant), work.map((one) => one.run), work.map((one) => one.call)];
    const [tenants, runs, calls] = columns;
    const { rows } = await sql<Found>`select run, call, what
      from stopped_work(${tenants}::text[], ${runs}::text[], ${calls}::text[]) where what is not null`.execute(
      options.db,
    );
    for (const { run, call, what } of rows) {
      for (const one of running.get(run) ?? []) {
        if (one.call === call) one.stop(what === 'cancel' ? 'run' : 'work');
      }
    }
  }

  /** One look at a time; one that is asked for meanwhile follows it, since it may have read too early. */
  function look(): Promise<void> {
    if (looking !== null) {
      again = true;
      return looking;
    }
    looking = (async () => {
      do {
        again = false;
        await lookOnce().catch((error: unknown) => options.onError?.(error));
      } while (again && !closed);
      looking = null;
    })();
    return looking;
  }

  function changed(): void {
    epoch += 1;
    void look();
  }

  const listener = listen({
    url: options.url,
    channels: [CANCEL_CHANNEL, SWITCH_CHANNEL],
    name: 'steward-worker-stops',
    onNotify: (channel, payload) => {
      if (channel === SWITCH_CHANNEL) return changed();
      for (const run of payload.split(',')) for (const { stop } of running.get(run) ?? []) stop('run');
    },
    onConnect: changed,
    onLost: () => {
      epoch += 1;
    },
  });
  const timer = setInterval(() => void look(), LOOK_MS);
  return {
    ready: listener.ready,
    async close() {
      closed = true;
      clearInterval(timer);
      await listener.close();
      await looking;
    },
    epoch: () => epoch,
    onStop({ tenant, run, call = '' }, stop) {
      const work = { tenant, run, call, stop };
      const set = running.get(run) ?? new Set();
      running.set(run, set.add(work));
      return () => {
        set.delete(work);
        if (set.size === 0 && running.get(run) === set) running.delete(run);
      };
    },
  };
}
