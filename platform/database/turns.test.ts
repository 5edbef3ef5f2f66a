import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { AssistantBlock } from '#domain/conversation.ts';
import { affordableOutput, worstCase } from '#domain/pricing.ts';
import { DEFAULT_LIMITS, DEFAULT_WAITS } from '#domain/run.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { answer, proposed, type Row, type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import { TURN_ATTEMPTS } from './open-turn.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

const now = () => new Date();
const FAILED = { code: 'MODEL_OVERLOADED', message: 'overloaded', retrying: true } as const;
/** Input of 1,000 tokens and the least output worth its money. */
const LEAST = worstCase('offline-1', 1_000, 256, now());

const store = (run: SeededRun, turn: number, id: string, ...said: Parameters<typeof answer>) =>
  bench.turns.storeAnswer(run.ref, turn, id, answer(...said), 0);

test('a turn is reserved for, stored with its settlement, and found on repeat', async () => {
  const run = await bench.run();
  const { id, opened } = await run.open(1);
  const reserved = worstCase('offline-1', 1_000, 1_000, now());
  expect(opened).toMatchObject({
    kind: 'reserved',
    reservedMicroUsd: reserved,
    runGrant: run.grant,
    request: {
      model: 'offline-1',
      system: 'Be helpful.',
      maxOutputTokens: 1_000,
      turn: 1,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Do it.' }] }],
    },
  });
  expect(await run.row()).toMatchObject({ status: 'running', turns: 0 });
  expect(await run.account()).toMatchObject({ reserved_micro_usd: reserved, settled_micro_usd: 0 });

  const stored = await store(run, 1, id, [{ type: 'text', text: 'Look.' }, proposed('1.0', 'edit_note', { id: 7 })]);
  const cost = stored.costMicroUsd;
  expect(stored).toEqual({
    stop: 'tool_use',
    proposals: [{ callId: '1.0', providerId: 'toolu_1.0', tool: 'edit_note', argsJson: '{"id":7}', malformed: null }],
    costMicroUsd: 200,
    tokens: 120,
    summaries: 0,
    overage: false,
    runaway: false,
  });
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: cost });
  expect(await run.row()).toMatchObject({ turns: 1, model_calls: 1, input_tokens: 100, output_tokens: 20 });
  expect((await run.events()).map((event) => [event.kind, event.turn, event.data])).toEqual([
    ['run.started', 0, { model: 'offline-1' }],
    ['turn.started', 1, { model: 'offline-1', attempt: 1, reserved }],
    [
      'turn.answered',
      1,
      { model: 'offline-1', cost, spent: cost, text: 'Look.', calls: [{ id: '1.0', tool: 'edit_note' }] },
    ],
  ]);
  // However often it is asked, nothing is reserved again.
  expect((await run.open(1, { number: 2 })).opened).toEqual({ kind: 'stored', turn: stored, runGrant: run.grant });
  expect(await run.costs()).toHaveLength(1);
  expect(await bench.turns.storeAnswer(run.ref, 1, id, answer(), 0)).toEqual(stored);
});

test('the output cap shrinks to what the budget affords, and below the least the budget counts as spent', async () => {
  const budget = worstCase('offline-1', 1_000, 600, now());
  const run = await bench.run({ budget });
  const { id, opened } = await run.open(1);
  expect(opened).toMatchObject({ kind: 'reserved', request: { maxOutputTokens: 600 } });
  expect(affordableOutput('offline-1', 1_000, budget, now())).toBe(600);
  await store(run, 1, id, [proposed('1.0')], { usage: { input: 100, output: 500 } });
  // 2,600 of 4,000 are spent: 1,400 afford 1,000 tokens of input and 80 of output.
  const { opened: short } = await run.open(2);
  expect(short).toEqual({ kind: 'budget', level: 'run', needMicroUsd: LEAST - (budget - 2_600) });
});

test('a spent budget is shown once, again only where something else is missing, and not after a raise', async () => {
  const run = await bench.run({
    budget: LEAST - 1,
    columns: { waits: JSON.stringify({ ...DEFAULT_WAITS, budgetMs: 60_000 }) },
  });
  const began = Date.now();
  expect((await run.open(1)).opened).toEqual({ kind: 'budget', level: 'run', needMicroUsd: 1 });
  expect((await run.open(1)).opened).toEqual({ kind: 'budget', level: 'run', needMicroUsd: 1 });
  expect(await run.kinds()).toEqual(['budget.exhausted']);
  const row = await run.row();
  expect(row).toMatchObject({ status: 'budget_exceeded' });
  const until = (row.waits_until as Date).getTime();
  expect(until - began).toBeGreaterThanOrEqual(60_000);
  // A longer prompt needs more; the wait stays as long as it was.
  await run.open(1, { input: 1_100 });
  expect((await run.events()).map((event) => event.data)).toEqual([
    { level: 'run', need: 1, until },
    { level: 'run', need: 126, until },
  ]);
  expect(((await run.row()).waits_until as Date).getTime()).toBe(until);
  expect(await run.costs()).toEqual([]);
  await bench.database.query('update steward.ledger_accounts set limit_micro_usd = 100000 where id = $1', [
    `run/${run.ref.run}`,
  ]);
  expect((await run.open(1)).opened.kind).toBe('reserved');
  expect(await run.row()).toMatchObject({ status: 'running', waits_until: null });
});

test('a spent month of the tenant stops its runs, and names its level', async () => {
  const tenant = await bench.database.tenant({ month_budget_micro_usd: LEAST });
  const [run, other] = [await bench.run({ tenant }), await bench.run({ tenant })];
  expect((await run.open(1)).opened).toMatchObject({ kind: 'reserved', request: { maxOutputTokens: 256 } });
  expect((await other.open(1)).opened).toEqual({ kind: 'budget', level: 'tenant_month', needMicroUsd: LEAST });
  expect((await other.events())[0]).toMatchObject({ kind: 'budget.exhausted', data: { level: 'tenant_month' } });
  expect(await run.row()).toMatchObject({ status: 'running' });
});

test.each([
  [
    'usage',
    { kind: 'usage', usage: { input: 100, output: 20, cacheRead: 0, cacheWrite: 0, reasoning: 0 } },
    200,
    'settled',
  ],
  ['reservation', { kind: 'reservation' }, 6_250, 'settled'],
  ['nothing', { kind: 'nothing' }, 0, 'released'],
] as const)('an attempt that failed is settled at its %s, once', async (_, end, cost, state) => {
  const run = await bench.run();
  const { id } = await run.open(1);
  const ends = await Promise.all([1, 2, 3].map(() => bench.turns.endAttempt(run.ref, 1, id, end, FAILED)));
  expect(ends).toEqual([cost, cost, cost]);
  expect(await run.costs()).toMatchObject([{ state, settled_micro_usd: cost }]);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: cost });
  const failed = (await run.events()).filter((event) => event.kind === 'turn.failed');
  expect(failed.map((event) => event.data)).toEqual([{ ...FAILED, model: 'offline-1', cost }]);
});

test('a turn that has failed too often is given up', async () => {
  const run = await bench.run();
  for (let nth = 1; nth <= TURN_ATTEMPTS; nth += 1) {
    const { id, opened } = await run.open(1, { number: nth });
    expect(opened.kind).toBe('reserved');
    await bench.turns.endAttempt(run.ref, 1, id, { kind: 'nothing' }, FAILED);
  }
  expect((await run.open(1)).opened).toEqual({ kind: 'gave_up', attempts: TURN_ATTEMPTS });
});

test('reasoning is part of the output and counts once', async () => {
  const run = await bench.run();
  const { id } = await run.open(1);
  expect(await store(run, 1, id, undefined, { usage: { reasoning: 15 } })).toMatchObject({ tokens: 120 });
});

test('a provider that bills above the reservation is overage, whichever attempt it was, also on repeat', async () => {
  const run = await bench.run();
  const [one, two] = [await run.open(1), await run.open(1, { number: 2 })];
  expect(await store(run, 1, one.id)).toMatchObject({ overage: false });
  expect(await store(run, 1, two.id, undefined, { usage: { output: 90_000 } })).toMatchObject({ overage: true });
  expect((await run.open(1)).opened).toMatchObject({ kind: 'stored', turn: { overage: true, costMicroUsd: 200 } });
});

test('what a call costs is priced as of when it was reserved for', async () => {
  const before = new Date('2026-10-06T23:59:59Z');
  const after = new Date('2026-10-07T00:00:01Z');
  let clock = before;
  const dated = await workerBench({ now: () => clock });
  try {
    const run = await dated.run({ columns: { model: 'claude-sonnet-5-5' } });
    const { id } = await run.open(1);
    // From midnight on reading the cache costs half.
    clock = after;
    const usage = { input: 0, output: 0, cacheRead: 1_000_000 };
    const stored = await dated.turns.storeAnswer(run.ref, 1, id, answer(undefined, { usage }), 0);
    expect(stored.costMicroUsd).toBe(200_000);
  } finally {
    await dated.stop();
  }
});

test('warnings come once, when three quarters of a limit are used, failed attempts included', async () => {
  const limits = { ...DEFAULT_LIMITS, modelCalls: 4, tokens: 480 };
  const run = await bench.run({ budget: 24_000, columns: { limits: JSON.stringify(limits) } });
  const warned = async () =>
    (await run.events())
      .filter((event) => event.kind === 'limit.warning')
      .map((event) => [(event.data as Row).limit, event.turn]);
  for (const turn of [1, 2]) {
    await store(run, turn, (await run.open(turn)).id, [proposed(`${turn}.0`)]);
  }
  expect(await warned()).toEqual([]);
  await store(run, 3, (await run.open(3)).id, [proposed('3.0')]);
  expect(await warned()).toEqual([
    ['model_calls', 3],
    ['tokens', 3],
  ]);
  // An attempt that failed takes the budget past its mark: 600 so far, and 6,250 each.
  for (let nth = 0; nth < 3; nth += 1) {
    const { id } = await run.open(4, { number: nth + 1 });
    await bench.turns.endAttempt(run.ref, 4, id, { kind: 'reservation' }, FAILED);
  }
  expect((await warned()).slice(2)).toEqual([['budget', 4]]);
  const { id } = await run.open(4, { number: 9, input: 10 });
  await bench.turns.storeAnswer(run.ref, 4, id, answer(undefined, { usage: { input: 1, output: 1 } }), 3 * 3_600_000);
  expect((await warned()).slice(3)).toEqual([['active_time', 4]]);
});

test('text deltas are kept in order of writing, replaced by a later attempt, and gone with the message', async () => {
  const run = await bench.run();
  const deltas = () =>
    bench.database.query<Row>(
      'select attempt, start, text from steward.agent_run_text_deltas where run_id = $1 order by 1, 2',
      [run.ref.run],
    );
  const first = await run.open(1);
  await bench.turns.addText(run.ref, 1, 1, 0, 'Hel');
  await bench.turns.addText(run.ref, 1, 1, 3, 'lo\u0000\ud83d');
  await bench.turns.addText(run.ref, 1, 1, 0, 'again');
  expect(await deltas()).toEqual([
    { attempt: 1, start: 0, text: 'Hel' },
    { attempt: 1, start: 3, text: 'lo\ufffd\ufffd' },
  ]);
  await bench.turns.endAttempt(run.ref, 1, first.id, { kind: 'nothing' }, FAILED);
  const second = await run.open(1, { number: 1 });
  expect(await deltas()).toEqual([]);
  await bench.turns.addText(run.ref, 1, 1, 0, 'Anew');
  await store(run, 1, second.id);
  expect(await deltas()).toEqual([]);
});

test('whatever a model says can be stored, and goes back to it as it was', async () => {
  const run = await bench.run();
  const nasty = `\u0000 \ud83d \\u0000 \\ ${'x'.repeat(3_986)}🙂🙂🙂🙂`;
  const content: AssistantBlock[] = [
    { type: 'thinking', provider: 'anthropic', data: { signature: 'c2ln', thinking: '\u0000\udc00', n: 1.0 } },
    { type: 'text', text: nasty },
    proposed('1.0', 'tool\u0000', { 'a\u0000\ud800': nasty }),
  ];
  await store(run, 1, (await run.open(1)).id, content);
  const { opened } = await run.open(2);
  expect(opened).toMatchObject({ kind: 'reserved', request: { messages: [{}, { role: 'assistant', content }] } });
  const answered = (await run.events()).find((event) => event.kind === 'turn.answered') as Row;
  // An emoji that would be cut in half is left out.
  expect(answered.data.text).toBe(`\ufffd \ufffd \\u0000 \\ ${'x'.repeat(3_986)}`);
});

test('the conversation stands in the order of its calls, whatever order their results came in', async () => {
  const run = await bench.run();
  await store(run, 1, (await run.open(1)).id, [proposed('1.0'), proposed('1.1'), proposed('1.2')]);
  for (const callId of ['1.2', '1.0', '1.1']) {
    await run.judge(callId);
    await bench.calls.endCall(run.ref, callId, {
      kind: 'done',
      resultJson: `"${callId}"`,
      change: null,
      undoable: false,
      repeated: false,
    });
  }
  const { opened } = await run.open(2);
  const messages = opened.kind === 'reserved' ? opened.request.messages : [];
  expect(messages.map((message) => message.role)).toEqual(['user', 'assistant', 'user']);
  expect(messages[2]?.content).toEqual(
    ['1.0', '1.1', '1.2'].map((callId) => ({
      type: 'tool_result',
      callId,
      providerId: `toolu_${callId}`,
      text: `"${callId}"`,
      isError: false,
    })),
  );
});

test.each([
  ['closed', { closed_at: new Date(), status: 'completed' }, { kind: 'closed', status: 'completed' }],
  ['to be cancelled', { cancel_requested_by: 'op' }, { kind: 'cancelled' }],
  ['paused', { status: 'paused', paused_by: 'op' }, { kind: 'paused' }],
])('a run that is %s gets no further model call', async (_, columns, opened) => {
  const run = await bench.run({ columns });
  expect((await run.open(1)).opened).toEqual(opened);
  expect(await run.costs()).toEqual([]);
  expect(await run.kinds()).toEqual([]);
});

test('a grant of another run or tenant, a forged one, and a foreign tenant get nothing', async () => {
  const run = await bench.run();
  const other = await bench.run({ tenant: run.ref.tenant });
  await bench.database.query('update steward.agent_runs set run_grant = $2 where id = $1', [run.ref.run, other.grant]);
  expect((await stewardErrorOf(run.open(1))).code).toBe('GRANT_MISMATCH');
  await bench.database.query('update steward.agent_runs set run_grant = $2 where id = $1', [
    run.ref.run,
    `${run.grant}x`,
  ]);
  expect((await stewardErrorOf(run.open(1))).code).toBe('GRANT_INVALID');
  const stranger = { tenant: (await bench.run()).ref.tenant, run: other.ref.run };
  const attempt = { id: randomUUID(), number: 1, deadlineAt: new Date() };
  expect((await stewardErrorOf(bench.turns.openTurn(stranger, 1, attempt, () => 1))).code).toBe('NOT_FOUND');
  const { id } = await other.open(1);
  expect((await stewardErrorOf(bench.turns.storeAnswer(stranger, 1, id, answer(), 0))).code).toBe('INTERNAL');
  expect(await other.steps()).toHaveLength(1);
});
