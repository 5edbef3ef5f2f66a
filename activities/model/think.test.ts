import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { ModelPort } from '#domain/ports/model.ts';
import type { JudgedCall, ThinkResult } from '#domain/ports/run-activities.ts';
import type { Proposal, TurnStore } from '#domain/ports/run-store.ts';
import type { GuardPort } from '#domain/ports/services.ts';
import { TURN_ATTEMPTS } from '#platform/database/open-turn.ts';
import { createAnthropicModel } from '#platform/llm/anthropic.ts';
import { type OfflineModel, startOfflineModel } from '#services/offline-model/server.ts';
import { activityEnvironment, endOf } from '#test/support/activities.ts';
import { answer, type SeededRun, type SeedOptions, workerBench } from '#test/support/worker-bench.ts';
import { BegunCalls } from '../tools/begun-calls.ts';
import { createThink } from './think.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;
let offline: OfflineModel;
let model: ModelPort;

beforeAll(async () => {
  [bench, offline] = await Promise.all([workerBench(), startOfflineModel()]);
  model = createAnthropicModel({ apiKey: 'any', baseUrl: offline.url, responseTimeoutMs: 1_000 });
}, 120_000);

afterAll(async () => {
  await offline.close();
  await bench.stop();
});

/** A run whose first message names a script of the offline model. */
const scripted = (script: string, params: object = {}, seed: SeedOptions = {}): Promise<SeededRun> =>
  bench.run({ ...seed, input: `Try it.\nscript: ${script}\nparams: ${JSON.stringify(params)}` });

interface Parts {
  readonly model?: ModelPort;
  readonly store?: TurnStore;
  /** What the guard does beside allowing everything. */
  readonly judge?: () => void;
}

/** The activity with the real store and the real adapter. */
function activity(run: SeededRun, parts: Parts = {}) {
  const judged: (readonly Proposal[])[] = [];
  const guard: Pick<GuardPort, 'judge'> = {
    async judge(runGrant, _turn, calls) {
      expect(runGrant).toBe(run.grant);
      judged.push(calls);
      parts.judge?.();
      const verdict = (call: Proposal): JudgedCall => ({
        id: call.callId,
        tool: call.tool,
        verdict: 'allow',
        sig: 's',
      });
      return { calls: calls.map(verdict), begun: [] };
    },
  };
  const push = { onStop: () => () => undefined, epoch: () => 0 };
  const log = { warn: () => undefined };
  const think = createThink({
    store: parts.store ?? bench.turns,
    model: parts.model ?? model,
    guard: guard as GuardPort,
    push,
    log,
    begun: new BegunCalls(),
    wake: () => undefined,
  });
  const start = (turn: number, attempt = 1, activeMs = 0) => {
    const environment = activityEnvironment({ attempt });
    const end = endOf(environment.run(think, { ...run.ref, turn, activeMs }) as Promise<ThinkResult>);
    return { environment, end };
  };
  return { judged, start, think: (turn: number, attempt = 1, activeMs = 0) => start(turn, attempt, activeMs).end };
}

/** Requests the provider has seen of this run. */
const requests = (run: SeededRun) => offline.requests.filter((request) => request.userId === run.ref.run);
const failures = async (run: SeededRun) =>
  (await run.events()).filter((event) => event.kind === 'turn.failed').map((event) => event.data);

test('what the model says is stored and judged; on repeat it is judged again and the model left alone', async () => {
  const run = await scripted('plan', {
    turns: [
      [
        { tool: 'a', args: { n: 1 } },
        { tool: 'b', args: {} },
      ],
    ],
  });
  const { think, judged } = activity(run);
  const first = await think(1, 1, 1_234);
  expect(first).toMatchObject({
    kind: 'calls',
    calls: [
      { id: '1.0', tool: 'a' },
      { id: '1.1', tool: 'b' },
    ],
  });
  expect(await think(1, 2)).toEqual(first);
  expect(requests(run)).toHaveLength(1);
  expect(judged).toHaveLength(2);
  expect(judged[0]).toMatchObject([{ callId: '1.0', tool: 'a', argsJson: '{"n":1}' }, { callId: '1.1' }]);
  expect(judged[1]).toEqual(judged[0]);
  expect(await run.row()).toMatchObject({ active_ms: 1_234, model_calls: 1 });
});

test('an answer without calls is the last one, and nobody is asked to judge', async () => {
  const run = await scripted('echo');
  const { think, judged } = activity(run);
  const result = await think(1);
  expect(result).toMatchObject({ kind: 'final', costMicroUsd: expect.any(Number) });
  expect(judged).toEqual([]);
  expect(await run.account()).toMatchObject({
    reserved_micro_usd: 0,
    settled_micro_usd: (result as { costMicroUsd: number }).costMicroUsd,
  });
});

test('a refusal, an answer that ran out of tokens, and far too many calls stop the run, with their cost', async () => {
  const refused = await scripted('refusal');
  expect(await activity(refused).think(1)).toMatchObject({ kind: 'stop', reason: 'model.refusal' });
  const long = await scripted('echo', { long: 'x'.repeat(200) }, { columns: { max_output_tokens: 5 } });
  expect(await activity(long).think(1)).toMatchObject({ kind: 'stop', reason: 'model.length' });
  const many = await scripted('many-calls', { calls: 51 });
  const { think, judged } = activity(many);
  expect(await think(1)).toMatchObject({
    kind: 'stop',
    reason: 'limit.tool_calls',
    message: expect.stringContaining('51'),
  });
  expect(judged).toEqual([]);
});

test('while the guard is down the activity is tried again, and the model is not', async () => {
  const run = await scripted('plan', { turns: [[{ tool: 'a', args: {} }]] });
  let down = true;
  const { think } = activity(run, {
    judge: () => {
      if (down) throw new StewardError('UNAVAILABLE', 'The guard is down.');
    },
  });
  expect(await think(1)).toBe('retries UNAVAILABLE');
  expect(await think(1, 2)).toBe('retries UNAVAILABLE');
  down = false;
  expect(await think(1, 3)).toMatchObject({ kind: 'calls' });
  expect(requests(run)).toHaveLength(1);
  expect(await run.costs()).toHaveLength(1);
});

test.each<[string, string, object, string, ErrorCode, 'released' | 'settled', string]>([
  ['rate limit', 'rate-limited', { retryAfter: 7 }, 'retries', 'MODEL_RATE_LIMITED', 'released', 'nothing'],
  ['overload', 'overloaded', {}, 'retries', 'MODEL_OVERLOADED', 'released', 'nothing'],
  ['server error', 'http-error', { status: 500 }, 'retries', 'MODEL_UNAVAILABLE', 'released', 'nothing'],
  ['refused key', 'http-error', { status: 401 }, 'fails', 'MODEL_AUTH', 'released', 'nothing'],
  ['refused request', 'http-error', { status: 400 }, 'fails', 'MODEL_REQUEST_REFUSED', 'released', 'nothing'],
  ['cut stream', 'cut-stream', { afterPieces: 2 }, 'retries', 'MODEL_CUT_OFF', 'settled', 'usage'],
  ['silence', 'hang', {}, 'retries', 'MODEL_UNAVAILABLE', 'settled', 'reservation'],
])(
  'a %s is settled at what is known of it, and the next attempt goes on',
  async (_, script, params, how, code, state, at) => {
    const run = await scripted(script, params);
    const { think } = activity(run);
    expect(await think(1)).toBe(`${how} ${code}`);
    const [cost] = await run.costs();
    expect(cost).toMatchObject({ state });
    if (at === 'nothing') expect(cost?.settled_micro_usd).toBe(0);
    if (at === 'reservation') expect(cost?.settled_micro_usd).toBe(cost?.reserved_micro_usd);
    if (at === 'usage') {
      expect(cost?.usage).toMatchObject({ input: expect.any(Number) });
      expect(cost?.settled_micro_usd).toBeGreaterThan(0);
      expect(cost?.settled_micro_usd).toBeLessThan(cost?.reserved_micro_usd);
    }
    expect(await failures(run)).toMatchObject([{ code, cost: cost?.settled_micro_usd, retrying: how === 'retries' }]);
    expect(await run.account()).toMatchObject({ reserved_micro_usd: 0 });
    expect(await think(1, 2)).toMatchObject({ kind: 'final' });
  },
);

test("the provider's Retry-After is Temporal's delay", async () => {
  const run = await scripted('rate-limited', { retryAfter: 7 });
  const think = createThink({
    store: bench.turns,
    model,
    guard: {} as GuardPort,
    push: { onStop: () => () => undefined, epoch: () => 0 },
    log: { warn: () => undefined },
    begun: new BegunCalls(),
    wake: () => undefined,
  });
  const failed = activityEnvironment().run(think, { ...run.ref, turn: 1, activeMs: 0 });
  await expect(failed).rejects.toMatchObject({
    type: 'MODEL_RATE_LIMITED',
    nextRetryDelay: 7_000,
    nonRetryable: false,
  });
});

test('a provider that cannot be reached costs nothing, and a turn that fails for ever is given up', async () => {
  const run = await scripted('echo');
  const away = createAnthropicModel({ apiKey: 'any', baseUrl: `http://127.0.0.1:${await freePort()}` });
  const { think } = activity(run, { model: away });
  for (let attempt = 1; attempt <= TURN_ATTEMPTS; attempt += 1) {
    expect(await think(1, attempt)).toBe('retries MODEL_UNAVAILABLE');
  }
  expect(await think(1, TURN_ATTEMPTS + 1)).toBe('fails MODEL_REQUEST_REFUSED');
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: 0 });
});

test.each([
  ['CANCELLED', false],
  ['WORKER_SHUTDOWN', true],
] as const)('%s in the middle of a stream ends the request and settles it', async (reason, retrying) => {
  const run = await scripted('slow-stream', { pieces: 200, everyMs: 50 });
  const { start } = activity(run);
  const { environment, end } = start(1);
  const deltas = () =>
    bench.database.query('select text from steward.agent_run_text_deltas where run_id = $1', [run.ref.run]);
  // Watchers see the text while it is being said.
  for (const until = Date.now() + 10_000; (await deltas()).length === 0; ) expect(Date.now()).toBeLessThan(until);
  const cancelled = Date.now();
  environment.cancel(reason);
  expect(await end).toBe('cancelled');
  expect(Date.now() - cancelled).toBeLessThan(2_000);
  const [request] = requests(run);
  expect((await request?.ended)?.outcome).toBe('closed');
  const [cost] = await run.costs();
  expect(cost).toMatchObject({ state: 'settled', usage: { input: expect.any(Number) } });
  expect(await failures(run)).toMatchObject([{ code: 'CANCELLED', retrying }]);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: cost?.settled_micro_usd });
});

test('a database that is away while the answer is to be stored costs no second model call', async () => {
  const run = await scripted('echo');
  let lost = 0;
  const store: TurnStore = {
    ...bench.turns,
    async storeAnswer(...args) {
      lost += 1;
      if (lost === 1) throw new StewardError('UNAVAILABLE', 'restarting');
      const stored = await bench.turns.storeAnswer(...args);
      // The commit happened, and its answer was lost.
      if (lost === 2) throw new StewardError('UNAVAILABLE', 'cut off');
      return stored;
    },
  };
  expect(await activity(run, { store }).think(1)).toMatchObject({ kind: 'final' });
  expect(lost).toBe(3);
  expect(requests(run)).toHaveLength(1);
  expect(await run.row()).toMatchObject({ model_calls: 1 });
  expect(await run.costs()).toMatchObject([{ state: 'settled' }]);
});

test('what the store refuses for another reason is left to the next attempt, and stays reserved', async () => {
  const run = await scripted('echo');
  const broken: TurnStore = { ...bench.turns, storeAnswer: () => Promise.reject(new TypeError('a fault')) };
  expect(await activity(run, { store: broken }).think(1)).toBe('retries INTERNAL');
  expect(await run.costs()).toMatchObject([{ state: 'reserved' }]);
  expect(await failures(run)).toEqual([]);
});

test('a bill above the reservation stops the run, whatever the model proposes', async () => {
  const run = await scripted('echo');
  const dear: ModelPort = {
    estimateInputTokens: () => 10,
    complete: async () => answer(undefined, { usage: { output: 90_000 } }),
  };
  const { think } = activity(run, { model: dear });
  const result = await think(1);
  expect(result).toMatchObject({ kind: 'stop', reason: 'budget.overage', costMicroUsd: 450_100 });
  expect(await think(1, 2)).toEqual(result);
});

test('nothing is called where the budget is spent, the run is paused, to be cancelled, or closed', async () => {
  const poor = await scripted('echo', {}, { budget: 1 });
  expect(await activity(poor).think(1)).toMatchObject({
    kind: 'budget',
    level: 'run',
    needMicroUsd: expect.any(Number),
  });
  const paused = await scripted('echo', {}, { columns: { status: 'paused', paused_by: 'op' } });
  expect(await activity(paused).think(1)).toEqual({ kind: 'paused' });
  const closed = await scripted('echo', {}, { columns: { status: 'failed', closed_at: new Date() } });
  expect(await activity(closed).think(1)).toBe('fails WRONG_STATE');
  const stopping = await scripted('echo', {}, { columns: { cancel_requested_by: 'op' } });
  const { environment, end } = activity(stopping).start(1);
  environment.cancel('CANCELLED');
  expect(await end).toBe('cancelled');
  for (const run of [poor, paused, closed, stopping]) {
    expect(requests(run)).toEqual([]);
    expect(await run.costs()).toEqual([]);
  }
});
