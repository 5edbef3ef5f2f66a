import { setTimeout as sleep } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import type { Database } from '#platform/database/tables.ts';
import type { Log } from '#platform/grpc/call.ts';
import type { Temporal } from './client.ts';
import { deliver } from './outbox.ts';

/** Brings outbox rows to Temporal right after their commit. */
export interface Deliveries {
  /**
   * Delivers the rows. Returns when that is done, or after 2 s, when it goes on by itself; what fails is the sweeper's.
   * Never throws: the commit stands.
   */
  send(tenant: string, ids: readonly number[]): Promise<void>;
  /** Waits for deliveries under way. */
  settled(): Promise<void>;
}

/** How long an answer waits for its delivery. */
const PATIENCE_MS = 2_000;

export function createDeliveries(deps: {
  readonly db: Kysely<Database>;
  readonly temporal: Temporal;
  readonly log: Log;
}): Deliveries {
  const running = new Set<Promise<void>>();
  return {
    async send(tenant, ids) {
      if (ids.length === 0) return;
      const work = deliver(deps, tenant, ids).then(
        () => {},
        (err: unknown) => deps.log.warn({ tenant, err }, 'left to the sweeper'),
      );
      running.add(work);
      void work.finally(() => running.delete(work));
      const patience = new AbortController();
      const waited = sleep(PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => {});
      await Promise.race([work, waited]);
      patience.abort();
    },
    async settled() {
      await Promise.all(running);
    },
  };
}
