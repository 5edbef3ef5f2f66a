import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Usage } from '#domain/conversation.ts';
import { priceOf } from '#domain/pricing.ts';
import { type Run, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { OLGA, type TestStack } from '#test/support/stack.ts';

export const CLAUDE = 'claude-sonnet-5-5';
export const GPT = 'gpt-6-sol';
/** How long the workers of these scenarios leave a provider alone that is out. */
export const RETRY_MS = 2_000;
const RECOVERS_MS = 20_000;
const CLOSED_MS = 30_000;

/** One thing that a fallback must do, on a whole Steward. `check` throws where it does not. */
export interface Scenario {
  readonly name: string;
  check(world: FallbackWorld): Promise<void>;
}

type Row = Record<string, unknown>;

/** What scenarios are played on. */
export class FallbackWorld {
  readonly stack: TestStack;
  readonly #sabotaged: boolean;

  constructor(stack: TestStack, sabotaged: boolean) {
    this.stack = stack;
    this.#sabotaged = sabotaged;
  }

  /** Starts a run of a script with a primary and the other provider's model as its fallback. */
  async start(
    script: string,
    params: object,
    models: { primary?: string; fallback?: string | null } = {},
  ): Promise<Run> {
    const { primary = CLAUDE, fallback = GPT } = models;
    const named = fallback === null || this.#sabotaged ? {} : { fallback };
    const agent = await this.stack.applyAgent({ script, model: primary, ...named });
    return this.stack.start(agent, `Go\nparams: ${JSON.stringify(params)}`);
  }

  async play(...of: Parameters<FallbackWorld['start']>): Promise<Run> {
    return this.stack.closed((await this.start(...of)).id, CLOSED_MS);
  }

  /** The models that answered, turn by turn, as ListSteps tells it. */
  async answeredBy(run: Run): Promise<string[]> {
    const { steps } = await this.stack.as(OLGA).runs.listSteps({ runId: run.id, pageSize: 200 });
    return steps.filter((step) => step.kind === 'model_message').map((step) => step.model);
  }

  /** What attempts were asked of which model, in order. */
  async asked(run: Run): Promise<string[]> {
    return (await this.costs(run)).map((row) => String(row.model));
  }

  async switches(run: Run): Promise<Row[]> {
    const rows = await this.stack.query<{ turn: number; data: Row }>(
      "select turn, data from steward.agent_run_events where run_id = $1 and kind = 'model.switched' order by sequence",
      [run.id],
    );
    return rows.map(({ turn, data }) => ({ turn, ...data }));
  }

  async costs(run: Run): Promise<Row[]> {
    return this.stack.query(
      'select turn, model, answered_by, failure, usage, created_at, reserved_micro_usd::int as reserved, ' +
        'settled_micro_usd::int as settled from steward.agent_run_costs where run_id = $1 order by created_at',
      [run.id],
    );
  }

  /** That every attempt was reserved and settled at the prices of the model it was asked of, and the run is told the sum. */
  async costsAreRight(run: Run): Promise<void> {
    const costs = await this.costs(run);
    for (const cost of costs) {
      const usage = cost.usage as Usage | null;
      const price = usage === null ? 0 : priceOf(String(cost.model), usage, cost.created_at as Date);
      assert.equal(cost.settled, price);
      assert.ok(Number(cost.reserved) >= price);
      assert.equal(cost.answered_by, usage === null ? null : cost.model);
    }
    const sum = costs.reduce((total, cost) => total + Number(cost.settled), 0);
    assert.deepEqual([run.cost?.settledMicroUsd, run.cost?.reservedMicroUsd], [BigInt(sum), 0n]);
  }
}

const always = (model: string, more: object = {}) => ({ model, attempts: -1, ...more });
const HERE = 'Here I am.';

function completed(run: Run, outcome?: string): void {
  assert.equal(run.status, RunStatus.COMPLETED, `it ended as ${run.status}: ${run.stopReason}`);
  if (outcome !== undefined) assert.equal(run.outcome, outcome);
}

function same(found: unknown, wanted: unknown): void {
  if (!isDeepStrictEqual(found, wanted)) assert.deepEqual(found, wanted);
}

/** A run of four turns whose first model is out in the second one. */
async function midRun(world: FallbackWorld, primary: string, fallback: string): Promise<void> {
  const title = `Made while ${primary} was out`;
  const turns = [
    [{ tool: 'list_projects', args: {} }],
    [{ tool: 'create_task', args: { project_id: 'apollo', title } }],
    [{ tool: 'list_tasks_in_project', args: { project_id: 'apollo' } }],
  ];
  const outage = always(primary.slice(0, 4), { turn: 1, status: 529, retryAfter: '0.1' });
  const run = await world.play('plan', { thinking: 'Hm.', turns, outage, final: 'Done.' }, { primary, fallback });
  completed(run, 'Done.');
  same(await world.answeredBy(run), [primary, fallback, primary, primary]);
  same(await world.asked(run), [...Array<string>(5).fill(primary), fallback, primary, primary]);
  same(await world.switches(run), [
    { turn: 2, from: primary, to: fallback, why: 'errors', errors: 4, thinkingDropped: 1 },
    { turn: 3, from: fallback, to: primary, why: 'recovered', errors: 0, thinkingDropped: 1 },
  ]);
  const made = await world.stack.query('select 1 from projects.tasks where title = $1', [title]);
  same([made.length, run.toolCalls], [1, 3]);
  await world.costsAreRight(run);
}

/** In this order: each leaves the providers as the next one wants them. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "the fallback takes a turn over in mid-run, with the other's calls and results, and hands the run back",
    check: (world) => midRun(world, CLAUDE, GPT),
  },
  {
    name: 'and so it goes from OpenAI to Anthropic',
    check: (world) => midRun(world, GPT, CLAUDE),
  },
  {
    name: 'a worker that starts anew goes on counting',
    async check(world) {
      const params = always('claude', { status: 503, retryAfter: '0.5' });
      const run = await world.start('http-error', params);
      await world.stack.until(run.id, (event) => event.kind === 'turn.failed');
      await world.stack.stack.restart('worker');
      const end = await world.stack.closed(run.id);
      completed(end, HERE);
      same(await world.asked(end), [...Array<string>(4).fill(CLAUDE), GPT]);
      await world.costsAreRight(end);
    },
  },
  {
    name: 'the breaker opens after five outages in a row, and other runs do not even ask',
    async check(world) {
      // A fresh worker has seen nothing.
      await world.stack.stack.restart('worker');
      const params = always('claude', { status: 500, retryAfter: '0.1' });
      const first = await world.play('http-error', params);
      same(await world.asked(first), [...Array<string>(4).fill(CLAUDE), GPT]);
      const second = await world.play('http-error', params);
      same(await world.asked(second), [CLAUDE, GPT]);
      const third = await world.play('echo', {});
      completed(third);
      same(await world.asked(third), [GPT]);
      same(await world.switches(third), [
        { turn: 1, from: CLAUDE, to: GPT, why: 'unavailable', errors: 0, thinkingDropped: 0 },
      ]);
    },
  },
  {
    name: 'half open it asks one call: a failure opens it again, an answer closes it',
    async check(world) {
      const params = always('claude', { status: 500, retryAfter: '0.1' });
      const failed = await soonAsking(world, 'http-error', params, CLAUDE);
      same(await world.asked(failed), [CLAUDE, GPT]);
      same(await world.asked(await world.play('echo', {})), [GPT]);
      completed(await soonAsking(world, 'echo', {}, CLAUDE));
      for (let nth = 0; nth < 2; nth += 1) same(await world.asked(await world.play('echo', {})), [CLAUDE]);
    },
  },
  {
    name: 'a definite refusal ends the run and is no outage',
    async check(world) {
      const run = await world.play('http-error', always('claude', { status: 400 }));
      same([run.status, run.stopReason], [RunStatus.FAILED, 'model.error']);
      same(await world.asked(run), [CLAUDE]);
      const none = await world.play('rate-limited', { attempts: 5, retryAfter: '0.1' }, { fallback: null });
      completed(none, HERE);
      same(await world.asked(none), Array(6).fill(CLAUDE));
    },
  },
  {
    name: 'a provider that asks for a long rest gets it, and the run goes on at once',
    async check(world) {
      const began = performance.now();
      const run = await world.play('rate-limited', always('claude', { retryAfter: 600 }));
      completed(run, HERE);
      same(await world.asked(run), [CLAUDE, GPT]);
      assert.ok(performance.now() - began < 30_000);
      same(await world.asked(await world.play('echo', {})), [GPT]);
      await world.costsAreRight(run);
    },
  },
];

/** Plays runs until one has asked this model first: the provider is left alone for a while. */
async function soonAsking(world: FallbackWorld, script: string, params: object, model: string): Promise<Run> {
  const giveUp = performance.now() + RECOVERS_MS;
  for (;;) {
    const run = await world.play(script, params);
    if ((await world.asked(run))[0] === model) return run;
    assert.ok(performance.now() < giveUp, `${model} was not asked again within ${RECOVERS_MS} ms`);
    await sleep(RETRY_MS / 10);
  }
}
