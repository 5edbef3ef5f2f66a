import { randomUUID } from 'node:crypto';
import { type CpuTimes, cpuPerTurn, cpuTimes } from './cpu.ts';
import { type HistorySize, historyOf } from './history.ts';
import type { Stand } from './stand.ts';
import { untilClosed } from './waiting.ts';

/** One run of Steward's, as it was measured. */
export interface MeasuredRun {
  readonly turns: number;
  /** From the run's first event to its last, by turn. */
  readonly msPerTurn: number;
  /** The part of it in which the offline model was at work. */
  readonly modelMsPerTurn: number;
  /** CPU of every process, by turn. */
  readonly cpu: CpuTimes;
  readonly history: HistorySize;
}

const START_MS = 30_000;
/** Runs of more turns belong to an agent of their own: at 50 times what its others cost, a run is stopped. */
const LONGEST_USUAL = 100;
/** A turn that takes longer is no turn. */
const TURN_MS = 3_000;

/** What the scripted model is told: so many turns, each answered after so long. */
export function taskOf(stand: Pick<Stand, 'project'>, turns: number, modelMs: number): string {
  const params = { turns, project_id: stand.project, ...(modelMs > 0 ? { model_ms: modelMs } : {}) };
  return `File ${turns} tasks.\nparams: ${JSON.stringify(params)}`;
}

/** Plays one run of so many turns, each one model call and one tool call, to its end. */
export async function playRun(stand: Stand, turns: number, modelMs = 0): Promise<string> {
  const { run } = await stand.runs.startRun(
    {
      requestId: randomUUID(),
      agent: turns > LONGEST_USUAL ? 'bench-long' : 'bench-turns',
      input: taskOf(stand, turns, modelMs),
    },
    { signal: stand.signal },
  );
  if (!run) throw new Error('run-api started no run.');
  await untilClosed(stand.temporal, run.workflowId, START_MS + turns * TURN_MS, stand.signal);
  return run.id;
}

/** Plays one run and measures it. Throws where it did not do what it was to do. */
export async function measureRun(stand: Stand, turns: number, modelMs = 0): Promise<MeasuredRun> {
  const before = cpuTimes();
  const run = await playRun(stand, turns, modelMs);
  const cpu = cpuPerTurn(before, cpuTimes(), turns);
  const { rows } = await stand.database.query<{
    status: string;
    stop_message: string | null;
    done: number;
    ms: number;
  }>(
    `select r.status, r.stop_message,
       (select count(*)::int from steward.agent_run_tool_invocations i where i.run_id = r.id and i.state = 'done') as done,
       (select extract(epoch from max(e.at) - min(e.at))::float8 * 1000 from steward.agent_run_events e
        where e.run_id = r.id) as ms
     from steward.agent_runs r where r.id = $1`,
    [run],
  );
  const found = rows[0];
  if (found?.status !== 'completed' || found.done !== turns) {
    const how = `${found?.status} after ${found?.done} calls${found?.stop_message ? `: ${found.stop_message}` : ''}`;
    throw new Error(`Run ${run} was to make ${turns} calls and ended as ${how}.`);
  }
  return {
    turns,
    msPerTurn: found.ms / turns,
    modelMsPerTurn: (await timeOfModel(stand, run)) / turns,
    cpu,
    history: await historyOf(stand.temporal, `run/${run}`),
  };
}

async function timeOfModel(stand: Stand, run: string): Promise<number> {
  const seen = await requestsOf(stand, run);
  return seen.reduce((sum, request) => sum + ((request.endedAt ?? request.receivedAt) - request.receivedAt), 0);
}

/** A request as the offline model saw it. Milliseconds since 1970. */
export interface SeenRequest {
  readonly receivedAt: number;
  readonly endedAt: number | null;
  readonly outcome: string;
}

const REQUESTS_MS = 10_000;

/** What the offline model was asked by a run. */
export async function requestsOf(stand: Pick<Stand, 'model' | 'signal'>, run: string): Promise<readonly SeenRequest[]> {
  const signal = AbortSignal.any([stand.signal, AbortSignal.timeout(REQUESTS_MS)]);
  const response = await fetch(`${stand.model}/requests?user=${run}`, { signal });
  return ((await response.json()) as { requests: SeenRequest[] }).requests;
}
