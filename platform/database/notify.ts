import { type Kysely, sql } from 'kysely';

/** Run ids, comma-separated: something of theirs has changed. A hint only: readers look for themselves once a second. */
export const RUNS_CHANNEL = 'steward_runs';
/** Run ids, comma-separated: work in flight for them is to be aborted. */
export const CANCEL_CHANNEL = 'steward_cancel';

const DEBOUNCE_MS = 50;
// A payload holds less than 8,000 bytes and a run id at most 64 characters.
const IDS_PER_PAYLOAD = 100;

/** Tells other processes that runs have changed. Neither call throws, waits, or belongs into a transaction. */
export interface Notifier {
  /** Call after the commit. Ids of 50 ms go out together. */
  wake(runId: string): void;
  /** Call after the commit of a cancel; goes out at once. */
  cancel(runId: string): void;
  /** Sends what is left and waits for it. Later calls do nothing. */
  close(): Promise<void>;
}

export interface NotifierOptions {
  /** Told about hints that could not be sent. They are not repeated. */
  readonly onError?: (error: unknown) => void;
  /** Default 50. */
  readonly debounceMs?: number;
}

/** One per process, over its own pool. */
export function notifier<DB>(db: Kysely<DB>, options: NotifierOptions = {}): Notifier {
  const changed = new Set<string>();
  const sending = new Set<Promise<void>>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function send(channel: string, ids: readonly string[]): void {
    for (let from = 0; from < ids.length; from += IDS_PER_PAYLOAD) {
      const payload = ids.slice(from, from + IDS_PER_PAYLOAD).join(',');
      // A hint needs no disk: nobody waits for this commit to be there.
      const hint = sql`select pg_notify(${channel}, ${payload}), set_config('synchronous_commit', 'off', true)`;
      const sent = hint.execute(db).then(
        () => {},
        (error: unknown) => options.onError?.(error),
      );
      sending.add(sent);
      void sent.finally(() => sending.delete(sent));
    }
  }

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    const ids = [...changed];
    changed.clear();
    send(RUNS_CHANNEL, ids);
  }

  return {
    wake(runId) {
      if (closed) return;
      changed.add(runId);
      timer ??= setTimeout(flush, options.debounceMs ?? DEBOUNCE_MS);
    },
    cancel(runId) {
      if (!closed) send(CANCEL_CHANNEL, [runId]);
    },
    async close() {
      closed = true;
      flush();
      await Promise.all(sending);
    },
  };
}
