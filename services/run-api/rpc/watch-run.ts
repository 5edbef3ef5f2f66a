import type { JsonObject, MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';
import type { WatchRunRequest, WatchRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';
import { type EventRow, type Position, readOn, type TextRow } from '../watching/read.ts';

type Item = MessageInitShape<typeof WatchRunResponseSchema>;

export interface WatchTimes {
  /** A silence of so long is broken by a heartbeat. */
  readonly heartbeatMs: number;
  /** A reader that lets one item lie for so long is told to come again. */
  readonly slowMs: number;
}

const TIMES: WatchTimes = { heartbeatMs: 15_000, slowMs: 10_000 };

/**
 * The run's events after a sequence number, without a gap, then live until the run closes. Nothing is kept for a reader:
 * each reads for itself when its run has changed.
 */
export async function* watchRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: WatchRunRequest,
  times: WatchTimes = TIMES,
): AsyncGenerator<Item, void, undefined> {
  const { principal } = ctx;
  const checks = new Checks();
  checks.runId(request.runId);
  const inRange = request.afterSequence >= 0n && request.afterSequence <= Number.MAX_SAFE_INTEGER;
  checks.that(inRange, 'after_sequence', 'must be the number of an event, or 0');
  checks.done();
  const position: Position = {
    sequence: Number(request.afterSequence),
    text: request.textDeltas ? { turn: 0, attempt: 0, start: -1 } : null,
  };
  // Before the first read, so that no change falls between reading and waiting.
  const follower = deps.hub.follow(principal.tenant, request.runId);
  try {
    const run = await withTenant(deps.db, principal.tenant, (trx) => readRun(trx, principal, request.runId));
    if (position.sequence > run.event_seq) {
      throw new StewardError(
        'INVALID_REQUEST',
        `after_sequence is ${position.sequence}, and the run has ${run.event_seq} events. Send the last one you got.`,
        { details: { field: 'after_sequence' } },
      );
    }
    let sentAt = performance.now();
    for (;;) {
      const before = position.sequence;
      const piece = await withTenant(deps.db, principal.tenant, (trx) => readOn(trx, run.id, position));
      let seen = before;
      for (const item of itemsOf(piece.events, piece.text)) {
        const given = performance.now();
        yield item;
        if (item.item?.case === 'event') seen = Number(item.item.value.sequence);
        if (performance.now() - given > times.slowMs) {
          yield { item: { case: 'resync', value: { afterSequence: BigInt(seen) } } };
          return;
        }
        if (item.item?.case === 'event' && item.item.value.kind === 'run.closed') return;
        sentAt = performance.now();
      }
      if (piece.last) return;
      if (piece.more) continue;
      const quiet = sentAt + times.heartbeatMs - performance.now();
      if (quiet > 0 && (await follower.changed(quiet, ctx.signal))) continue;
      yield { item: { case: 'heartbeat', value: { head: BigInt(position.sequence) } } };
      sentAt = performance.now();
    }
  } finally {
    follower.close();
  }
}

function itemsOf(events: readonly EventRow[], text: readonly TextRow[]): Item[] {
  return [
    ...events.map(
      (event): Item => ({
        item: {
          case: 'event',
          value: {
            sequence: BigInt(event.sequence),
            time: timestampFromDate(event.at),
            kind: event.kind,
            turn: event.turn,
            callId: event.call_id ?? '',
            data: event.data as JsonObject,
          },
        },
      }),
    ),
    ...text.map(
      (piece): Item => ({
        item: {
          case: 'textDelta',
          value: { turn: piece.turn, attempt: piece.attempt, offset: piece.start, text: piece.text },
        },
      }),
    ),
  ];
}
