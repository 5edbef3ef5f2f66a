import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/activity';
import type { Usage } from '#domain/conversation.ts';
import type { GuardPort } from '#domain/ports/services.ts';
import { priceOf } from '#domain/pricing.ts';
import { createAnthropicModel } from '#platform/llm/anthropic.ts';
import { createOpenAiModel } from '#platform/llm/openai.ts';
import { createRouter } from '#platform/llm/router.ts';
import { type OfflineModel, startOfflineModel } from '#services/offline-model/server.ts';
import { activityEnvironment } from '#test/support/activities.ts';
import { type Row, type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import { BegunCalls } from '../tools/begun-calls.ts';
import { createThink } from './think.ts';

/** The fallback of an agent, with the real store, both real adapters, and the offline model at the other end. */

const CLAUDE = 'claude-sonnet-5-5';
const GPT = 'gpt-6-sol';

let bench: Awaited<ReturnType<typeof workerBench>>;
let offline: OfflineModel;

beforeAll(async () => {
  [bench, offline] = await Promise.all([workerBench(), startOfflineModel()]);
}, 120_000);

afterAll(async () => {
  await offline.close();
  await bench.stop();
});

async function play(script: string, params: object, fallback: string | null = GPT) {
  const run = await bench.run({
    ...(fallback === null ? {} : { fallback }),
    columns: { model: CLAUDE },
    input: `script: ${script}\nparams: ${JSON.stringify(params)}`,
  });
  const router = createRouter({
    anthropic: createAnthropicModel({ apiKey: 'any', baseUrl: offline.url }),
    openai: createOpenAiModel({ apiKey: 'any', baseUrl: `${offline.url}/v1` }),
  });
  const guard: Pick<GuardPort, 'judge'> = {
    judge: async (_grant, _turn, calls) => ({
      calls: calls.map(({ callId, tool }) => ({ id: callId, tool, verdict: 'allow', sig: 's' })),
      begun: [],
    }),
  };
  const think = createThink({
    store: bench.turns,
    model: router,
    chooser: router,
    guard: guard as GuardPort,
    push: { onStop: () => () => undefined, epoch: () => 0 },
    log: { warn: () => undefined },
    begun: new BegunCalls(),
    wake: () => undefined,
  });
  /** What an attempt came to: the kind of its result, or after how long which failure is tried again. */
  const attempt = async (turn: number, number: number): Promise<string> => {
    const environment = activityEnvironment({ attempt: number });
    try {
      const result = (await environment.run(think, { ...run.ref, turn, activeMs: 0 })) as { kind: string };
      return result.kind;
    } catch (error) {
      if (!(error instanceof ApplicationFailure)) throw error;
      return error.nonRetryable ? `fails ${error.type}` : `${error.type} in ${error.nextRetryDelay} ms`;
    }
  };
  return { run, attempt };
}

async function answerCall(run: SeededRun, callId: string): Promise<void> {
  const said = (await run.steps()).flatMap((step) => (step.content.content as Row[] | undefined) ?? []);
  await run.judge(callId, { provider_id: said.find((block) => block.callId === callId)?.providerId });
  const end = { kind: 'done', resultJson: '{}', change: null, undoable: false, repeated: false } as const;
  await bench.calls.endCall(run.ref, callId, end);
}

const eventsOf = async (run: SeededRun, kind: string): Promise<Row[]> =>
  (await run.events()).filter((event) => event.kind === kind);
const bodiesOf = (run: SeededRun) => offline.requests.filter((one) => one.userId === run.ref.run);

test('after the fourth error of a turn the fallback answers, at its own price, and the next turn is the primary’s again', async () => {
  const outage = { turn: 1, model: 'claude', status: 503, attempts: -1, retryAfter: 20 };
  const { run, attempt } = await play('plan', {
    thinking: 'Hm, a secret thought.',
    turns: [[{ tool: 'a', args: { n: 1 } }], [{ tool: 'b' }]],
    outage,
  });
  expect(await attempt(1, 1)).toBe('calls');
  await answerCall(run, '1.0');
  for (const number of [1, 2, 3]) expect(await attempt(2, number)).toBe('MODEL_UNAVAILABLE in 20000 ms');
  // What the one provider asks for is not due where the other is asked.
  expect(await attempt(2, 4)).toBe('MODEL_UNAVAILABLE in 100 ms');
  expect(await attempt(2, 5)).toBe('calls');
  await answerCall(run, '2.0');
  expect(await attempt(3, 1)).toBe('final');

  expect((await eventsOf(run, 'model.switched')).map((event) => [event.turn, event.data])).toEqual([
    [2, { from: CLAUDE, to: GPT, why: 'errors', errors: 4, thinkingDropped: 1 }],
    [3, { from: GPT, to: CLAUDE, why: 'recovered', errors: 0, thinkingDropped: 1 }],
  ]);
  expect((await eventsOf(run, 'turn.started')).map((event) => event.data.model)).toEqual([
    ...Array<string>(5).fill(CLAUDE),
    GPT,
    CLAUDE,
  ]);
  expect((await eventsOf(run, 'turn.answered')).map((event) => event.data.model)).toEqual([CLAUDE, GPT, CLAUDE]);
  expect((await eventsOf(run, 'turn.failed')).map((event) => event.data.model)).toEqual(Array(4).fill(CLAUDE));
  const said = (await run.steps()).filter((step) => step.kind === 'model_message');
  expect(said.map((step) => step.model)).toEqual([CLAUDE, GPT, CLAUDE]);

  const costs = await run.costs();
  const failed = ['MODEL_UNAVAILABLE', CLAUDE, null, 0];
  expect(costs.map((cost) => [cost.failure, cost.model, cost.answered_by, cost.turn === 2 ? 0 : cost.turn])).toEqual([
    [null, CLAUDE, CLAUDE, 1],
    ...Array<unknown[]>(4).fill(failed),
    [null, GPT, GPT, 0],
    [null, CLAUDE, CLAUDE, 3],
  ]);
  for (const cost of costs.filter((one) => one.usage !== null)) {
    expect(cost.settled_micro_usd).toBe(priceOf(cost.model, cost.usage as Usage, cost.created_at));
    expect(cost.settled_micro_usd).toBeLessThanOrEqual(cost.reserved_micro_usd);
  }
  const total = costs.reduce((sum, cost) => sum + cost.settled_micro_usd, 0);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: total });

  // Each was sent its own thinking only, and all that was said and done.
  const seen = bodiesOf(run);
  const toGpt = JSON.stringify(seen[5]?.body);
  expect(toGpt).not.toContain('"signature"');
  expect(toGpt).toContain('"call_id":"toolu_');
  const toClaude = JSON.stringify(seen[6]?.body);
  expect(toClaude).toContain('"signature"');
  expect(toClaude).not.toContain('encrypted_content');
  expect(toClaude).toContain('"tool_use_id":"call_');
});

test('a definite refusal is told as it is, and nobody else is asked', async () => {
  for (const [status, code] of [
    [400, 'MODEL_REQUEST_REFUSED'],
    [401, 'MODEL_AUTH'],
  ] as const) {
    const { run, attempt } = await play('http-error', { status, attempts: -1 });
    expect(await attempt(1, 1)).toBe(`fails ${code}`);
    expect(bodiesOf(run)).toHaveLength(1);
    expect(await eventsOf(run, 'model.switched')).toEqual([]);
  }
});

test('without a fallback an agent keeps to its model, and what it asks to wait', async () => {
  const { run, attempt } = await play('rate-limited', { attempts: 5, retryAfter: 7 }, null);
  for (const number of [1, 2, 3, 4, 5]) expect(await attempt(1, number)).toBe('MODEL_RATE_LIMITED in 7000 ms');
  expect(await attempt(1, 6)).toBe('final');
  expect(new Set((await run.costs()).map((cost) => cost.model))).toEqual(new Set([CLAUDE]));
});

test('a provider that asks for a long rest is left to it at once, and where both fail they are asked in turn', async () => {
  const { run, attempt } = await play('rate-limited', { attempts: -1, retryAfter: 3_600 });
  const ends: string[] = [];
  for (let number = 1; number <= 11; number += 1) ends.push(await attempt(1, number));
  const asked = (await run.costs()).map((cost) => (cost.model === CLAUDE ? 'c' : 'g')).join('');
  expect(asked).toBe('cgcgcgcgcg');
  expect(ends.at(-1)).toBe('fails MODEL_REQUEST_REFUSED');
  expect(ends.slice(0, 9)).toEqual(Array(9).fill('MODEL_RATE_LIMITED in 100 ms'));
});
