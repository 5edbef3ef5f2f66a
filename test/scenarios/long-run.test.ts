import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { workflowIdOf } from '#domain/ids.ts';
import { RUN_TASK_QUEUE, RUN_WORKFLOW, type RunInput } from '#domain/run-workflow.ts';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { type TestStack, testStack } from '../support/stack.ts';

/**
 * A run of many turns, through continue-as-new and with a small window, on everything that is real; its worker is killed
 * in the middle. `STEWARD_LONG_RUN_TURNS` makes it longer: 1,000 take some minutes.
 */

const TURNS = Number(process.env.STEWARD_LONG_RUN_TURNS ?? 150);
const PER_EXECUTION = 40;
const WINDOW = 16_000;

let s: TestStack;

beforeAll(async () => {
  s = await testStack();
}, 120_000);

afterAll(() => s?.stop(), 60_000);

/** Has run-api write the run, and starts its workflow again with a lower threshold: only tests set it. */
async function startLong(): Promise<string> {
  const agent = await s.applyAgent({
    script: 'long-loop',
    budget: '$40',
    limits: { model_calls: 2 * TURNS, tool_calls: 2 * TURNS, tokens: 100_000_000 },
    contextTokens: WINDOW,
  });
  await s.stack.service('worker').stop();
  const asked = {
    turns: TURNS,
    tool: 'list_tasks_in_project',
    args: { project_id: 'apollo' },
    vary: 'page_size',
    modulo: 50,
  };
  const run = await s.start(agent, `Look at them all.\nparams: ${JSON.stringify(asked)}`);
  const [row] = await s.query<Pick<RunInput, 'limits' | 'waits' | 'agent'>>(
    'select agent, limits, waits from steward.agent_runs where id = $1',
    [run.id],
  );
  const { workflow } = s.temporal.client;
  const workflowId = workflowIdOf(run.id);
  await workflow.getHandle(workflowId).terminate('begun again');
  const args: [RunInput] = [{ ...(row as RunInput), tenant: 'acme', run: run.id, turnsPerExecution: PER_EXECUTION }];
  await workflow.start(RUN_WORKFLOW, { taskQueue: RUN_TASK_QUEUE, workflowId, args });
  await s.stack.restart('worker');
  return run.id;
}

/** Every execution of the run that Temporal knows, with the size of its history and of what it was begun with. */
async function executions(run: string) {
  const { workflow } = s.temporal.client;
  const found: { readonly events: number; readonly input: number }[] = [];
  for await (const { runId, status } of workflow.list({ query: `WorkflowId = '${workflowIdOf(run)}'` })) {
    if (status.name === 'TERMINATED') continue;
    const { events } = await workflow.getHandle(workflowIdOf(run), runId).fetchHistory();
    const begun = events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0]?.data;
    found.push({ events: events?.length ?? 0, input: begun?.length ?? 0 });
  }
  return found;
}

test(
  'a run goes on for as long as its limits allow: what it carries, sends and reads stays bounded',
  async () => {
    const run = await startLong();
    await s.until(
      run,
      (event) => event.kind === 'turn.answered' && event.turn === Math.floor(TURNS / 3),
      TURNS * 1_000,
    );
    process.kill(s.stack.service('worker').pid, 'SIGKILL');
    await s.stack.restart('worker');
    expect(await s.closed(run, TURNS * 1_000)).toMatchObject({ status: RunStatus.COMPLETED, turns: TURNS + 1 });

    const chain = await executions(run);
    expect(chain.length).toBeGreaterThanOrEqual(Math.floor(TURNS / PER_EXECUTION));
    for (const one of chain) {
      expect(one.input).toBeLessThan(1_500);
      expect(one.events).toBeLessThan(PER_EXECUTION * 20);
    }

    const kinds = await s.query<{ kind: string; n: number; turns: number }>(
      `select kind, count(*)::int as n, count(distinct turn)::int as turns from steward.agent_run_steps
     where run_id = $1 group by kind`,
      [run],
    );
    const count = Object.fromEntries(kinds.map((row) => [row.kind, row]));
    expect(count.model_message?.n).toBe(TURNS + 1);
    expect(count.tool_result?.n).toBe(TURNS);
    expect(count.summary?.n).toBeGreaterThanOrEqual(2);
    expect(count.summary?.turns).toBe(count.summary?.n);

    // Every prompt that was answered was within the window, and most of each was read from the provider's cache.
    const [prompts] = await s.query<{ most: number; input: number; cached: number; n: number; open: number }>(
      `select max(p.total)::int as most, sum(p.total)::float as input, sum(p.cached)::float as cached, count(*)::int as n,
       count(*) filter (where p.state = 'reserved')::int as open
     from (select state, (usage->>'cacheRead')::int as cached, (usage->>'input')::int + (usage->>'cacheRead')::int +
       (usage->>'cacheWrite')::int as total from steward.agent_run_costs where run_id = $1) p`,
      [run],
    );
    expect(prompts?.most).toBeLessThan(WINDOW);
    expect((prompts?.cached ?? 0) / (prompts?.input ?? 1)).toBeGreaterThan(0.7);
    expect(prompts?.open).toBe(0);

    const [row] = await s.query<{ model_calls: number; step_seq: number; summarised_through: number }>(
      'select model_calls, step_seq, summarised_through from steward.agent_runs where id = $1',
      [run],
    );
    expect(row?.model_calls).toBe(TURNS + 1 + (count.summary?.n ?? 0));
    // What a worker that knows nothing of the run would read: steps since the newest summary.
    const unread = (row?.step_seq ?? 0) - (row?.summarised_through ?? 0);
    expect(unread).toBeLessThan(150);
    const figures = { executions: chain.length, steps: row?.step_seq, unread, summaries: count.summary?.n, ...prompts };
    process.stderr.write(`${JSON.stringify({ turns: TURNS, ...figures })}\n`);
  },
  TURNS * 2_000 + 60_000,
);
