import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, isStewardError } from '#domain/errors.ts';
import { Answer, type Approval } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { BEN, DESK, OLGA, type TestStack } from '#test/support/stack.ts';
import { EFFECTS_PER_RUN } from './intents.ts';
import type { Progress } from './progress.ts';

const PAUSE_MS = 250;
/** A caller that has lost its answer and does not repeat gives the platform so long to have the run. */
const PATIENCE_MS = 3_000;
const DECIDED: ReadonlySet<ErrorCode> = new Set(['ALREADY_DECIDED', 'APPROVAL_VOID', 'APPROVAL_EXPIRED']);

/** Everybody around the runs. Each goes on, whatever dies, until `over`. */
export interface Around {
  readonly s: TestStack;
  readonly agent: string;
  readonly seed: number;
  readonly progress: Progress;
  readonly over: AbortSignal;
}

/** What watching a run has shown. */
export interface Watched {
  readonly run: string;
  events: number;
  /** Events that came out of order, twice, or not at all. */
  wrong: number;
  closed: boolean;
}

/**
 * Starts one run when it is due. Every caller takes one request id; one in two repeats a call whose answer it has lost
 * only where the platform does not know of the run: the others' healing is the platform's own.
 */
export async function startRun(around: Around, number: number, at: number): Promise<void> {
  const { s, agent, seed, progress, over } = around;
  await progress.reaches(at * progress.runs * EFFECTS_PER_RUN);
  const requestId = `chaos-${seed}-${number}`;
  const input = `Run ${number} of a chaos suite.\nparams: ${JSON.stringify({ seed, run: number })}`;
  await untilDone(over, async () => {
    await s
      .as(DESK)
      .runs.startRun({ requestId, agent, input })
      .catch(async (error: unknown) => {
        if (number % 2 === 1 && (await isKnown(s, requestId))) return;
        throw error;
      });
  });
}

async function isKnown(s: TestStack, requestId: string): Promise<boolean> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
    const rows = await s.query('select id from steward.agent_runs where request_id = $1', [requestId]);
    if (rows.length > 0) return true;
    await sleep(PAUSE_MS);
  }
  return false;
}

/** A second user, who approves whatever is asked, the last run's questions once nobody is to be killed. Repeats an answer that got lost under the same request id. */
export async function approve(around: Around): Promise<void> {
  const { s, progress, over } = around;
  const begun = new Set<string>();
  const running = new Set<Promise<void>>();
  while (!over.aborted) {
    const { approvals } = await s
      .as(BEN)
      .approvals.listApprovals({ pageSize: 100 }, { signal: over })
      .catch(() => ({ approvals: [] as Approval[] }));
    for (const approval of approvals) {
      if (begun.has(approval.id) || progress.held) continue;
      begun.add(approval.id);
      const work = untilDone(over, () => decide(around, approval, begun.size % 2 === 0));
      running.add(work);
      void work.finally(() => running.delete(work));
    }
    await pause(over);
  }
  await Promise.all(running);
}

async function decide({ s, over }: Around, approval: Approval, waiting: boolean): Promise<void> {
  const request = {
    requestId: `chaos-${approval.id}`,
    decision: { approvalId: approval.id, answer: Answer.APPROVE, digest: approval.digest, reason: 'chaos' },
  };
  const { approvals } = s.as(BEN);
  const call = waiting
    ? approvals.decideAndWait(request, { signal: over })
    : approvals.decide(request, { signal: over });
  await call.catch((error: unknown) => {
    if (!isStewardError(error) || !DECIDED.has(error.code)) throw error;
  });
}

/** Watches every run from its first event to its last, each over one stream that is taken up where it broke. */
export async function watchAll(around: Around, watched: Map<string, Watched>): Promise<void> {
  const { progress, over } = around;
  const streams: Promise<void>[] = [];
  while (!over.aborted) {
    for (const run of progress.ids) {
      if (watched.has(run)) continue;
      const seen: Watched = { run, events: 0, wrong: 0, closed: false };
      watched.set(run, seen);
      streams.push(watch(around, seen));
    }
    await pause(over);
  }
  await Promise.all(streams);
}

async function watch({ s, over }: Around, seen: Watched): Promise<void> {
  while (!over.aborted) {
    try {
      const request = { runId: seen.run, afterSequence: BigInt(seen.events) };
      for await (const { item } of s.as(OLGA).runs.watchRun(request, { signal: over })) {
        if (item.case !== 'event') continue;
        if (Number(item.value.sequence) !== seen.events + 1) seen.wrong += 1;
        seen.events = Number(item.value.sequence);
        seen.closed = item.value.kind === 'run.closed';
        if (seen.closed) return;
      }
    } catch {
      // Taken up where it broke.
    }
    await pause(over);
  }
}

/** Repeats the work until it does not fail, or everything is over. */
async function untilDone(over: AbortSignal, work: () => Promise<void>): Promise<void> {
  while (!over.aborted) {
    try {
      return await work();
    } catch {
      await pause(over);
    }
  }
}

async function pause(over: AbortSignal): Promise<void> {
  await sleep(PAUSE_MS, undefined, { signal: over }).catch(() => undefined);
}
