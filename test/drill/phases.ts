import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import type { RunEvent } from '#gen/steward/run/v1/run_service_pb.ts';
import { OLGA, type TestStack } from '#test/support/stack.ts';
import { SLOW_S } from './world.ts';

export const PHASES = ['streaming', 'tool', 'approval', 'backoff', 'timer', 'queue', 'busy'] as const;
export type Phase = (typeof PHASES)[number];

/** One live run. */
export interface Live {
  readonly run: string;
  readonly phase: Phase;
}

const READY_MS = 90_000;
const LOOK_MS = 25;
const STATUSES = ['in_progress', 'done', 'open'] as const;
const BUSY_TURNS = 80;

/** What a run of each phase is told to do; the task is one of its own. */
const INPUTS: Readonly<Record<Exclude<Phase, 'tool'>, (task: string) => string>> = {
  streaming: () => script('slow-stream', { pieces: 550, everyMs: 100 }),
  approval: (task) => plan([[{ tool: 'delete_task', args: { task_id: task } }]]),
  backoff: () => script('rate-limited', { attempts: -1, retryAfter: '60' }),
  timer: (task) => plan(busy(task)),
  queue: (task) => plan(busy(task)),
  busy: (task) => plan(busy(task)),
};

function busy(task: string) {
  return Array.from({ length: BUSY_TURNS }, (_, at) => [
    { tool: 'update_task_status', args: { task_id: task, status: STATUSES[at % STATUSES.length] } },
  ]);
}

const slow = (title: string) =>
  plan([[{ tool: 'create_task', args: { project_id: 'apollo', title: `slow ${title}` } }]]);
const plan = (turns: unknown) => script('plan', { turns });
const script = (name: string, params: object) => `script: ${name}\nparams: ${JSON.stringify(params)}`;

/** Starts a run of a phase; those whose call is to be in flight are started by `intoFlight`, last. */
export async function startLive(test: TestStack, agent: string, phase: Phase): Promise<Live> {
  const task = `drill-${randomUUID().slice(0, 12)}`;
  await test.query(
    `insert into projects.tasks (tenant, id, project_id, title, status) values ($1, $2, 'apollo', $2, 'open')`,
    [DEV_TENANT, task],
  );
  const input = phase === 'tool' ? slow(task) : INPUTS[phase](task);
  const { id } = await test.start(agent, input);
  return { run: id, phase };
}

/** Waits until every run is in its phase. Throws naming the first that never was. */
export async function untilInPhase(test: TestStack, lives: readonly Live[]): Promise<void> {
  const until = Date.now() + READY_MS;
  for (const live of lives.filter(({ phase }) => phase === 'timer')) {
    await test.until(live.run, (event: RunEvent) => event.kind === 'tool.done', READY_MS);
    await test.as(OLGA).runs.pauseRun({ runId: live.run, requestId: randomUUID(), reason: 'drill' });
  }
  for (const { run, phase } of lives) {
    for (;;) {
      const [row] = await test.query<{ there: boolean }>(
        `select ${THERE[phase]} as there from steward.agent_runs r
        where r.id = $1`,
        [run],
      );
      if (row?.there) break;
      if (Date.now() > until) throw new Error(`Run ${run} never was in phase ${phase}.`);
      await sleep(LOOK_MS);
    }
  }
}

/** So many calls are within their transactions, and will be for a while. */
export async function untilInFlight(test: TestStack, calls: number): Promise<void> {
  const until = Date.now() + (SLOW_S - 2) * 1_000;
  for (;;) {
    const [row] = await test.query<{ n: number }>(`select count(*)::int as n from pg_stat_activity
      where wait_event = 'PgSleep' and usename = 'steward_projects'`);
    if ((row?.n ?? 0) >= calls) return;
    if (Date.now() > until) throw new Error(`Only ${row?.n} of ${calls} calls were in flight.`);
    await sleep(LOOK_MS);
  }
}

const kinds = (kind: string) =>
  `(select count(*) from steward.agent_run_events e where e.run_id = r.id and e.kind = '${kind}')`;

const THERE: Readonly<Record<Phase, string>> = {
  streaming: 'exists (select from steward.agent_run_text_deltas d where d.run_id = r.id)',
  tool: `${kinds('tool.started')} > 0`,
  approval: `r.status = 'awaiting_approval'`,
  backoff: `${kinds('turn.failed')} > 0`,
  timer: `r.status = 'paused'`,
  queue: `r.status = 'queued'`,
  busy: `${kinds('tool.done')} > 1`,
};
