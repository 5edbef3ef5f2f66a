import pg from 'pg';

export interface ListenOptions {
  readonly url: string;
  /** Plain lower-case names. */
  readonly channels: readonly string[];
  /** Must not throw. */
  readonly onNotify: (channel: string, payload: string) => void;
  /** After every connect: notifications may have been missed until now. */
  readonly onConnect?: () => void;
  /** A connection was lost or could not be had; it is tried again. */
  readonly onLost?: (error: unknown) => void;
  /** Shown in pg_stat_activity. */
  readonly name?: string;
}

export interface Listener {
  /** Settles after the first connect. Never rejects: a lost server is waited for. */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

const CONNECT_MS = 5_000;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2_000;
// A connection whose other end vanished without a word is noticed by this question.
const PROBE_MS = 10_000;

/** Keeps one connection that listens, and connects again when it is lost. */
export function listen(options: ListenOptions): Listener {
  for (const channel of options.channels) {
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(channel)) throw new RangeError(`${channel} is no channel name`);
  }
  const ready = Promise.withResolvers<void>();
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let failures = 0;
  let opening: Promise<void> = Promise.resolve();

  function lost(which: pg.Client, error: unknown): void {
    if (client !== which) return;
    client = undefined;
    clearTimeout(timer);
    void which.end().catch(() => {});
    if (closed) return;
    options.onLost?.(error);
    const wait = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
    failures += 1;
    timer = setTimeout(open, wait);
  }

  function probe(which: pg.Client): void {
    timer = setTimeout(() => {
      which.query('select 1').then(
        () => {
          if (client === which) probe(which);
        },
        (error: unknown) => lost(which, error),
      );
    }, PROBE_MS);
  }

  async function start(which: pg.Client): Promise<void> {
    await which.connect();
    for (const channel of options.channels) await which.query(`listen ${channel}`);
    if (client !== which || closed) return;
    failures = 0;
    probe(which);
    ready.resolve();
    options.onConnect?.();
  }

  function open(): void {
    const which = new pg.Client({
      connectionString: options.url,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: CONNECT_MS,
      keepAlive: true,
      application_name: options.name ?? 'steward-listen',
    });
    client = which;
    which.on('error', (error) => lost(which, error));
    which.on('end', () => lost(which, new Error('the connection ended')));
    which.on('notification', ({ channel, payload }) => options.onNotify(channel, payload ?? ''));
    opening = start(which).catch((error: unknown) => lost(which, error));
  }

  open();
  return {
    ready: ready.promise,
    async close() {
      closed = true;
      clearTimeout(timer);
      const last = client;
      client = undefined;
      await opening.catch(() => {});
      await last?.end().catch(() => {});
      ready.resolve();
    },
  };
}
