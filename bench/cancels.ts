import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Stand } from './stand.ts';
import { requestsOf } from './turns.ts';
import { until, untilClosed, within } from './waiting.ts';

/** What a run is cancelled in the middle of. */
export type Midst = 'streaming' | 'tool';

/** From CancelRun being sent to the provider's socket, or the catalog's call, being ended; in milliseconds. */
export interface MeasuredCancel {
  readonly midst: Midst;
  readonly ms: number;
  /** Until the run was closed as cancelled. */
  readonly closedMs: number;
}

const BEGINS_MS = 30_000;
const ENDS_MS = 30_000;
/** A cancel comes so long after the stream or the call has begun, at most. */
const LATEST_MS = 900;

const INPUT: Readonly<Record<Midst, { readonly agent: string; readonly input: string }>> = {
  streaming: { agent: 'bench-stream', input: 'Talk.\nparams: {"pieces": 2000, "everyMs": 50}' },
  tool: {
    agent: 'bench-hold',
    input: 'Hold.\nparams: {"turns": [[{"tool": "hold", "args": {"id": "one"}}]]}',
  },
};

/** Starts one run, cancels it in the midst of what is asked for, and waits for its end. */
export async function measureCancel(stand: Stand, midst: Midst, random: () => number): Promise<MeasuredCancel> {
  const { run } = await stand.runs.startRun({ requestId: randomUUID(), ...INPUT[midst] }, { signal: stand.signal });
  if (!run) throw new Error('run-api started no run.');
  await begins(stand, midst, run.id);
  await delay(random() * LATEST_MS, undefined, { signal: stand.signal });
  const sent = Date.now();
  const ended = ends(stand, midst, run.id);
  // Whichever fails first is told; the other must not be unheard.
  ended.catch(() => undefined);
  await stand.runs.cancelRun({ runId: run.id, requestId: randomUUID(), reason: 'bench' }, { signal: stand.signal });
  const at = await ended;
  await untilClosed(stand.temporal, run.workflowId, ENDS_MS, stand.signal);
  const { rows } = await stand.database.query<{ status: string; closed_at: Date }>(
    'select status, closed_at from steward.agent_runs where id = $1',
    [run.id],
  );
  const closed = rows[0];
  if (closed?.status !== 'cancelled') throw new Error(`Run ${run.id} was cancelled and ended as ${closed?.status}.`);
  return { midst, ms: at - sent, closedMs: closed.closed_at.getTime() - sent };
}

async function begins(stand: Stand, midst: Midst, run: string): Promise<void> {
  if (midst === 'tool') {
    await within(`The call of run ${run}`, BEGINS_MS, stand.signal, stand.catalog.callOf(run).began);
    return;
  }
  await until(`The stream of run ${run}`, BEGINS_MS, stand.signal, async () =>
    (await requestsOf(stand, run)).find((request) => request.outcome === 'open'),
  );
}

/** When the provider's socket was closed, or the catalog's call was told to end, by their own clocks. */
async function ends(stand: Stand, midst: Midst, run: string): Promise<number> {
  if (midst === 'tool') {
    return within(`The end of the call of run ${run}`, ENDS_MS, stand.signal, stand.catalog.callOf(run).ended);
  }
  const request = await until(`The end of the stream of run ${run}`, ENDS_MS, stand.signal, async () =>
    (await requestsOf(stand, run)).find((seen) => seen.endedAt !== null),
  );
  if (request.outcome !== 'closed') throw new Error(`The stream of run ${run} ended as ${request.outcome}.`);
  return request.endedAt ?? Number.NaN;
}
