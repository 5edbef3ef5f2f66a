import type { Kysely } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { type Listener, listen } from '#platform/database/listen.ts';
import { RUNS_CHANNEL } from '#platform/database/notify.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';

/** One who waits for changes of one run. */
export interface Follower {
  /** True once the run may have changed since the last call; false after `ms`. Rejects with the signal's reason. */
  changed(ms: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Tells followers that their run may have changed. Holds no data: a slow follower costs nothing but its place. */
export interface Hub {
  /** From now on no change is missed. Throws LIMIT_REACHED where too many follow already. */
  follow(tenant: string, run: string): Follower;
  close(): Promise<void>;
}

export interface HubOptions {
  /** As the role steward_run_api. */
  readonly url: string;
  readonly db: Kysely<Database>;
  readonly onError?: (error: unknown) => void;
  /** Followers of this process. Default 10,000. */
  readonly most?: number;
  /** Of one tenant. Default 2,000: one that opens streams without end leaves room for the others. */
  readonly mostOfTenant?: number;
  /** How often heads of followed runs are read again, since a NOTIFY can be lost. Default 1,000 ms. */
  readonly lookMs?: number;
}

const LOOK_MS = 1_000;
const MOST_FOLLOWERS = 10_000;
const MOST_OF_TENANT = 2_000;
const RUNS_PER_QUERY = 500;

/** The followed runs of one tenant, with what was last seen of them. */
interface Tenant {
  readonly heads: Map<string, { head: number | null; readonly followers: Set<Waiting> }>;
  followers: number;
}

/** One LISTEN connection and one look a second per process, however many follow. */
export function createHub(options: HubOptions): Hub {
  return new PostgresHub(options);
}

class PostgresHub implements Hub {
  readonly #options: HubOptions;
  readonly #listener: Listener;
  readonly #tenants = new Map<string, Tenant>();
  readonly #byRun = new Map<string, Set<Waiting>>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#listener = listen({
      url: options.url,
      channels: [RUNS_CHANNEL],
      name: 'steward-run-api-hub',
      onNotify: (_channel, payload) => {
        for (const run of payload.split(',')) this.#wake(this.#byRun.get(run));
      },
      onConnect: () => {
        for (const followers of this.#byRun.values()) this.#wake(followers);
      },
      onLost: (error) => options.onError?.(error),
    });
    this.#schedule();
  }

  follow(tenant: string, run: string): Follower {
    if (this.#count >= (this.#options.most ?? MOST_FOLLOWERS)) {
      throw new StewardError('LIMIT_REACHED', 'Too many streams are open on this server. Try again, or use GetRun.');
    }
    const own = this.#tenants.get(tenant) ?? { heads: new Map(), followers: 0 };
    if (own.followers >= (this.#options.mostOfTenant ?? MOST_OF_TENANT)) {
      throw new StewardError('LIMIT_REACHED', 'This tenant has too many streams open. Close some, or use GetRun.');
    }
    this.#count += 1;
    own.followers += 1;
    const { heads } = own;
    this.#tenants.set(tenant, own);
    const followed = heads.get(run) ?? { head: null, followers: new Set() };
    heads.set(run, followed);
    // Apart from the tenants' own: whoever names another tenant's run must not stand in its followers' way.
    const notified = this.#byRun.get(run) ?? new Set();
    this.#byRun.set(run, notified);
    const waiting = new Waiting(() => {
      this.#count -= 1;
      own.followers -= 1;
      notified.delete(waiting);
      if (notified.size === 0) this.#byRun.delete(run);
      followed.followers.delete(waiting);
      if (followed.followers.size === 0) heads.delete(run);
      if (own.followers === 0) this.#tenants.delete(tenant);
    });
    notified.add(waiting);
    followed.followers.add(waiting);
    return waiting;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
    await this.#listener.close();
  }

  #wake(followers: ReadonlySet<Waiting> | undefined): void {
    for (const follower of followers ?? []) follower.wake();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look()
        .catch((error: unknown) => this.#options.onError?.(error))
        .finally(() => this.#schedule());
    }, this.#options.lookMs ?? LOOK_MS);
  }

  async #look(): Promise<void> {
    for (const [tenant, { heads }] of [...this.#tenants]) {
      const runs = [...heads.keys()];
      for (let from = 0; from < runs.length; from += RUNS_PER_QUERY) {
        if (this.#closed) return;
        const ids = runs.slice(from, from + RUNS_PER_QUERY);
        const rows = await withTenant(this.#options.db, tenant, (trx) =>
          trx.selectFrom('agent_runs').select(['id', 'event_seq']).where('id', 'in', ids).execute(),
        );
        for (const row of rows) {
          const followed = heads.get(row.id);
          if (followed === undefined || followed.head === row.event_seq) continue;
          followed.head = row.event_seq;
          this.#wake(followed.followers);
        }
      }
    }
  }
}

class Waiting implements Follower {
  readonly #onClose: () => void;
  #dirty = false;
  #closed = false;
  #waiter: (() => void) | undefined;

  constructor(onClose: () => void) {
    this.#onClose = onClose;
  }

  wake(): void {
    this.#dirty = true;
    this.#waiter?.();
  }

  changed(ms: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const end = (act: () => void): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#waiter = undefined;
        this.#dirty = false;
        act();
      };
      const onAbort = (): void => end(() => reject(signal.reason as Error));
      const timer = setTimeout(() => end(() => resolve(false)), ms);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      if (this.#dirty) return end(() => resolve(true));
      this.#waiter = () => end(() => resolve(true));
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
  }
}
