import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { StewardError } from '#domain/errors.ts';
import {
  GetSwitchResponseSchema,
  type KillResponse,
  SwitchScope,
} from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { type Run, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { stoppedLines } from '../render/stopped.ts';
import { visible } from '../render/text.ts';
import type { Session } from '../session.ts';

export interface DrillOptions {
  readonly runs: number;
  readonly model?: string;
  readonly reason?: string;
}

const AGENT = 'kill-drill';
const MODEL = 'claude-sonnet-5-5';
const BEGUN_MS = 20_000;
/** So long after the kill nothing of a drill may be open. */
const STOPPED_MS = 15_000;
const LOOK_MS = 100;

/** An agent that only talks: whatever becomes of the drill, it can change nothing. */
const definition = (model: string) => `name: ${AGENT}
description: Synthetic runs of kill drills. Has no tools.
model: ${model}
max_output_tokens: 1024
instructions: |
  This run is a drill and will be stopped. Count slowly from one to five hundred, in words.

  script: slow-stream
tools: {}
budget: $0.10
`;

/**
 * Kills some synthetic runs of an agent of their own and reports what came of it; the switch, its lifting and the report
 * are in the audit log. Exit code 1 where something had not stopped.
 */
export async function drill(session: Session, options: DrillOptions): Promise<ExitCode | undefined> {
  const reason = options.reason ?? 'drill';
  await session.wait('Preparing the agent', session.admin.applyAgent({ yaml: definition(options.model ?? MODEL) }));
  const runs: string[] = [];
  let answer: KillResponse | undefined;
  try {
    for (let at = 0; at < options.runs; at += 1) {
      const started = await session.runs.startRun({
        requestId: randomUUID(),
        agent: AGENT,
        input: 'Count.',
        labels: { drill: 'kill' },
      });
      if (started.run) runs.push(started.run.id);
    }
    await session.wait('Waiting for the runs to be at work', untilBegun(session, runs));
  } catch (error) {
    await cancelAll(session, runs);
    throw error;
  }
  const began = performance.now();
  try {
    answer = await session.wait(
      'Killing them',
      session.switches.kill({
        requestId: randomUUID(),
        scope: SwitchScope.AGENT,
        target: AGENT,
        reason,
        drill: true,
      }),
    );
    const tookMs = Math.round(performance.now() - began);
    const open = await session.wait('Waiting for their end', untilClosed(session, runs));
    const refused = await isRefused(session);
    const found = await session.switches.getSwitch({ switchId: answer.switch?.id ?? '' });
    const passed = open.length === 0 && refused && found.stopped?.callsUnconfirmed === 0;
    session.show(GetSwitchResponseSchema, found, () => [
      `${session.look.paint.bold('Drill:')} ${runs.length} runs killed in ${tookMs} ms, switch ${visible(found.switch?.id ?? '')}`,
      ...stoppedLines(found.stopped, session.look),
      `  a new run of the scope was ${refused ? 'refused' : session.look.paint.red('NOT refused')}`,
      ...open.map((run) => session.look.paint.red(`  run ${visible(run)} has not stopped`)),
    ]);
    return passed ? undefined : EXIT.failed;
  } finally {
    const id = answer?.switch?.id;
    if (id !== undefined) await session.switches.unkill({ switchId: id, reason: `${reason}: over` });
  }
}

async function untilBegun(session: Session, runs: readonly string[]): Promise<void> {
  const until = Date.now() + BEGUN_MS;
  for (const id of runs) {
    for (;;) {
      const run = await runOf(session, id);
      // A run may also wait for a slot: the queue is a phase like another.
      if (run.status === RunStatus.RUNNING || run.status === RunStatus.QUEUED) break;
      if (run.closedAt !== undefined || Date.now() > until) {
        throw new StewardError('WRONG_STATE', `Run ${id} of the drill never was at work. Look at it: run show ${id}`);
      }
      await sleep(LOOK_MS);
    }
  }
}

async function untilClosed(session: Session, runs: readonly string[]): Promise<readonly string[]> {
  const until = Date.now() + STOPPED_MS;
  const open = new Set(runs);
  while (open.size > 0 && Date.now() < until) {
    for (const id of open) if ((await runOf(session, id)).closedAt !== undefined) open.delete(id);
    if (open.size > 0) await sleep(LOOK_MS);
  }
  return [...open];
}

async function runOf(session: Session, runId: string): Promise<Run> {
  const { run } = await session.runs.getRun({ runId });
  if (run === undefined) throw new StewardError('INTERNAL', 'run-api answered without a run.');
  return run;
}

async function isRefused(session: Session): Promise<boolean> {
  try {
    const { run } = await session.runs.startRun({ requestId: randomUUID(), agent: AGENT, input: 'Count.' });
    if (run) await cancelAll(session, [run.id]);
    return false;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'KILLED') return true;
    throw error;
  }
}

async function cancelAll(session: Session, runs: readonly string[]): Promise<void> {
  for (const runId of runs) {
    await session.runs.cancelRun({ runId, requestId: randomUUID(), reason: 'drill' }).catch(() => undefined);
  }
}
