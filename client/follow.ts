import { setTimeout as sleep } from 'node:timers/promises';
import { isStewardError, StewardError } from '#domain/errors.ts';
import type { RunEvent, RunService, TextDelta, WatchRunResponse } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Client } from '#platform/grpc/client.ts';

/** What following a run gives. */
export type Followed =
  | { readonly kind: 'event'; readonly event: RunEvent }
  | { readonly kind: 'delta'; readonly delta: TextDelta }
  /** The stream broke; it is taken up again after the last event, in `waitMs`. */
  | { readonly kind: 'broken'; readonly why: string; readonly attempt: number; readonly waitMs: number };

export interface FollowOptions {
  readonly after: bigint;
  readonly text: boolean;
  /** Ends the following, without an error. */
  readonly signal: AbortSignal;
  /** Attempts in a row that bring nothing new, before it is given up. Default 10. */
  readonly attempts?: number;
  /** Milliseconds without any sign of life, heartbeats included, after which a stream counts as broken. Default 45 s. */
  readonly silenceMs?: number;
}

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;
const LONG_LIVED_MS = 30_000;
const RETRIED = new Set(['UNAVAILABLE', 'DEADLINE', 'INTERNAL', 'CANCELLED']);

/**
 * The events of a run after a sequence number, each once and in order, until the run has closed. A stream that breaks
 * is taken up again where it stood, a bounded number of times in a row, ever later.
 *
 * @throws StewardError what the service refused with; UNAVAILABLE once the attempts are used up.
 */
export async function* followRun(
  client: Client<typeof RunService>,
  runId: string,
  options: FollowOptions,
): AsyncGenerator<Followed, void, undefined> {
  const most = options.attempts ?? 10;
  let after = options.after;
  for (let attempt = 0; attempt < most; attempt += 1) {
    const began = Date.now();
    let why: string;
    try {
      for await (const item of oneStream(client, runId, after, options)) {
        if (item.case === 'textDelta') yield { kind: 'delta', delta: item.value };
        if (item.case !== 'event' || item.value.sequence <= after) continue;
        if (item.value.sequence > after + 1n && after > 0n) break;
        after = item.value.sequence;
        attempt = 0;
        yield { kind: 'event', event: item.value };
        if (item.value.kind === 'run.closed') return;
      }
      if (await isOver(client, runId, after, options.signal)) return;
      why = 'the stream ended before the run did';
    } catch (error) {
      if (options.signal.aborted) return;
      if (!isStewardError(error) || !RETRIED.has(error.code)) throw error;
      why = error.message;
    }
    if (options.signal.aborted) return;
    if (Date.now() - began > LONG_LIVED_MS) attempt = 0;
    const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt) * (0.8 + Math.random() * 0.4);
    yield { kind: 'broken', why, attempt: attempt + 1, waitMs };
    await sleep(waitMs, undefined, { signal: options.signal }).catch(() => {});
  }
  throw new StewardError('UNAVAILABLE', `The events of run ${runId} could not be followed: ${most} attempts failed.`, {
    details: { after: String(after) },
  });
}

async function* oneStream(
  client: Client<typeof RunService>,
  runId: string,
  after: bigint,
  options: FollowOptions,
): AsyncGenerator<WatchRunResponse['item'], void, undefined> {
  const silence = new AbortController();
  const limit = options.silenceMs ?? 45_000;
  const gone = (): void => silence.abort();
  let timer = setTimeout(gone, limit);
  const signal = AbortSignal.any([options.signal, silence.signal]);
  const request = { runId, afterSequence: after, textDeltas: options.text };
  try {
    for await (const { item } of client.watchRun(request, { signal })) {
      clearTimeout(timer);
      timer = setTimeout(gone, limit);
      if (item.case === 'resync') return;
      yield item;
    }
  } catch (error) {
    if (!silence.signal.aborted) throw error;
    throw new StewardError('UNAVAILABLE', `Nothing was heard for ${Math.round(limit / 1000)} s.`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

async function isOver(
  client: Client<typeof RunService>,
  runId: string,
  after: bigint,
  signal: AbortSignal,
): Promise<boolean> {
  const { run } = await client.getRun({ runId }, { signal });
  return run?.closedAt !== undefined && run.head <= after;
}
