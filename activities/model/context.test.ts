import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { marksOf, SUMMARY_MARK } from '#domain/context.ts';
import type { ModelPort, ModelRequest } from '#domain/ports/model.ts';
import type { JudgedCall, ThinkResult } from '#domain/ports/run-activities.ts';
import type { TurnStore } from '#domain/ports/run-store.ts';
import type { GuardPort } from '#domain/ports/services.ts';
import { type Conversing, rowsOf } from '#platform/database/steps.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { createAnthropicModel } from '#platform/llm/anthropic.ts';
import { type OfflineModel, startOfflineModel } from '#services/offline-model/server.ts';
import { activityEnvironment, endOf } from '#test/support/activities.ts';
import { answer, type Row, type SeededRun, type SeedOptions, workerBench } from '#test/support/worker-bench.ts';
import { BegunCalls } from '../tools/begun-calls.ts';
import { createThink } from './think.ts';

/** What a model really gets of a conversation that is longer than its window. */

let bench: Awaited<ReturnType<typeof workerBench>>;
let offline: OfflineModel;
let model: ModelPort;

beforeAll(async () => {
  [bench, offline] = await Promise.all([workerBench(), startOfflineModel()]);
  model = createAnthropicModel({ apiKey: 'any', baseUrl: offline.url });
}, 120_000);

afterAll(async () => {
  await offline.close();
  await bench.stop();
});

const WINDOW = 8_000;
const OUTPUT = 500;
const MARKS = marksOf(WINDOW, OUTPUT);

function start(params: object = {}, seed: SeedOptions = {}): Promise<SeededRun> {
  const asked = { turns: 1_000, tool: 'look', ...params };
  return bench.run({
    budget: 50_000_000,
    input: `Look at everything.\nscript: long-loop\nparams: ${JSON.stringify(asked)}`,
    ...seed,
    columns: {
      context_tokens: WINDOW,
      max_output_tokens: OUTPUT,
      limits: JSON.stringify({ modelCalls: 1_000, toolCalls: 1_000, toolCallsPerTurn: 10, tokens: 1e9, activeMs: 1e9 }),
      ...seed.columns,
    },
  });
}

function activity(store: TurnStore = bench.turns) {
  const guard: Pick<GuardPort, 'judge'> = {
    judge: async (_grant, _turn, calls) => ({
      calls: calls.map((call): JudgedCall => ({ id: call.callId, tool: call.tool, verdict: 'allow', sig: 's' })),
      begun: [],
    }),
  };
  const push = { onStop: () => () => undefined, epoch: () => 0 };
  const log = { warn: () => undefined };
  const deps = { store, model, guard: guard as GuardPort, push, log, begun: new BegunCalls(), wake: () => undefined };
  const think = createThink(deps);
  return (run: SeededRun, turn: number, attempt = 1) =>
    endOf(activityEnvironment({ attempt }).run(think, { ...run.ref, turn, activeMs: 0 }) as Promise<ThinkResult>);
}

/** What comes back of each call: so many characters, which tell the turn. */
async function answerCalls(run: SeededRun, turn: number, size: number): Promise<void> {
  const said = (await run.steps()).find((step) => step.kind === 'model_message' && step.turn === turn);
  const call = said?.content.content.find((block: Row) => block.type === 'tool_call');
  await run.judge(`${turn}.0`, { provider_id: call.providerId });
  const resultJson = JSON.stringify({ turn, text: `${turn} `.repeat(Math.ceil(size / `${turn} `.length)) });
  const end = { kind: 'done', resultJson, change: null, undoable: false, repeated: false } as const;
  await bench.calls.endCall(run.ref, `${turn}.0`, end);
}

async function play(run: SeededRun, turns: number, size: number, from = 1) {
  const results: ThinkResult[] = [];
  for (let turn = from; turn < from + turns; turn += 1) {
    const result = await activity()(run, turn);
    if (typeof result === 'string') throw new Error(`turn ${turn}: ${result}`);
    results.push(result);
    await answerCalls(run, turn, size);
  }
  return results;
}

interface Wire {
  readonly messages: readonly { readonly role: string; readonly content: readonly Row[] }[];
}

const sent = (run: SeededRun) => offline.requests.filter((request) => request.userId === run.ref.run);
const wires = (run: SeededRun) => sent(run).flatMap((request) => (request.body ? [request.body as Wire] : []));
const textOf = (wire: Wire) => JSON.stringify(wire.messages);
const bare = (message: object) =>
  JSON.stringify(message, (key, value) => (key === 'cache_control' ? undefined : value));
/** Whether the second request begins with all of the first. */
const extendsIt = (before: Wire, after: Wire) =>
  before.messages.every((message, at) => {
    const [one, other] = [message.content.map(bare), (after.messages[at]?.content ?? []).map(bare)];
    return one.every((block, index) => block === other[index]);
  });
const shortenings = async (run: SeededRun) =>
  (await run.events()).filter((event) => event.kind === 'context.shortened').map((event) => event.data.how as string);

test('the oldest long results are left out first, in big hops, and what a provider has cached stays the same between', async () => {
  const run = await start({}, { columns: { context_tokens: 2 * WINDOW } });
  await play(run, 30, 900);
  const all = wires(run);
  expect(all).toHaveLength(30);
  expect(sent(run).every((request) => request.status === 200)).toBe(true);
  const hops = await shortenings(run);
  expect(new Set(hops)).toEqual(new Set(['results']));
  expect(hops.length).toBeGreaterThanOrEqual(2);
  const breaks = all.slice(1).filter((wire, at) => !extendsIt(all[at] as Wire, wire));
  expect(breaks).toHaveLength(hops.length);
  expect(all.length / hops.length).toBeGreaterThan(4);
  // The newest result is always whole, and old ones say what they were.
  const last = textOf(all.at(-1) as Wire);
  expect(last).toContain('29 29 29');
  expect(last).not.toContain('\\"turn\\":2,');
  expect(last).toMatch(/This result of \d+ bytes is left out/);
  // What is stored is not touched.
  const results = (await run.steps()).filter((step) => step.kind === 'tool_result');
  expect(results).toHaveLength(30);
  expect(results.every((step) => step.content.text.length >= 900)).toBe(true);
}, 60_000);

test('then what is old is summed up by the model, counted and paid like any call, and users keep their words', async () => {
  const run = await start();
  // Results too short to be worth leaving out.
  const results = await play(run, 45, 300);
  expect(sent(run).every((request) => request.status === 200)).toBe(true);
  const summaries = (await run.steps()).filter((step) => step.kind === 'summary');
  expect(summaries.length).toBeGreaterThanOrEqual(2);
  expect(await shortenings(run)).toEqual(summaries.map(() => 'summary'));
  const asked = wires(run).filter((wire) => textOf(wire).includes(SUMMARY_MARK));
  expect(asked).toHaveLength(summaries.length);
  for (const wire of wires(run)) {
    expect(wire.messages[0]?.content[0]?.text).toContain('Look at everything.');
    expect(wire.messages.length).toBeLessThan(60);
  }
  const last = wires(run).at(-1) as Wire;
  expect(last.messages[0]?.content[1]?.text).toContain('It is data');
  expect(last.messages[0]?.content[1]?.text).toContain('{"summary":"Summary: ');
  expect(textOf(last)).toContain('Turn 44 of 1000');
  expect(textOf(last)).not.toContain('Turn 3 of 1000');
  // Each is told to the workflow, and stands in the run's counters, costs and account.
  const told = results.map((result) => ('summaries' in result ? result.summaries : 0) ?? 0);
  expect(told.reduce((sum, one) => sum + one, 0)).toBe(summaries.length);
  const row = await run.row();
  expect(row).toMatchObject({ turns: 45, model_calls: 45 + summaries.length });
  const costs = await run.costs();
  expect(costs.filter((cost) => cost.purpose === 'summary')).toHaveLength(summaries.length);
  const settled = costs.reduce((sum, cost) => sum + Number(cost.settled_micro_usd), 0);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: settled });
  expect(results.reduce((sum, result) => sum + ('costMicroUsd' in result ? result.costMicroUsd : 0), 0)).toBe(settled);
  // The summary's own prompt is one the provider has seen: read from its cache for the most part.
  const cached = costs.filter((cost) => cost.purpose === 'summary').map((cost) => cost.usage);
  for (const usage of cached) expect(usage.cacheRead).toBeGreaterThan(4 * (usage.input + usage.cacheWrite));
  // A repeated turn tells the same.
  const at = told.indexOf(1) + 1;
  expect(await activity()(run, at, 2)).toEqual(results[at - 1]);
}, 60_000);

test('a prompt never passes the window, however long the talk, and rows are read from the summary on', async () => {
  const run = await start();
  let most = 0;
  const before = model;
  model = {
    ...before,
    complete: (request, onText, signal) => {
      most = Math.max(most, before.estimateInputTokens(request) + request.maxOutputTokens);
      return before.complete(request, onText, signal);
    },
  };
  try {
    await play(run, 60, 700);
  } finally {
    model = before;
  }
  expect(most).toBeLessThanOrEqual(WINDOW);
  expect(most).toBeGreaterThan(MARKS.low);
  const atFirst = await readAnew(run);
  await play(run, 60, 700, 61);
  const later = await readAnew(run);
  for (const read of [atFirst, later]) {
    expect(read.rows).toBeLessThan(60);
    // The window, and what of it is not sent: the summary's words once more, ids, braces.
    expect(read.bytes).toBeLessThan(4 * WINDOW);
  }
}, 60_000);

test.each([
  ['refuses', 'refuse', 1],
  ['calls a tool instead', 'call', 1],
  ['is refused the request', 'reject', 0],
])(
  'where the model %s, what is old is left out with a note, and the run goes on',
  async (_, summary, paid) => {
    const run = await start({ summary });
    const results = await play(run, 30, 300);
    expect(await shortenings(run)).toContain('dropped');
    const last = wires(run).at(-1) as Wire;
    expect(last.messages[0]?.content[1]?.text).toContain('there is no summary of it');
    const dropped = (await run.steps()).filter((step) => step.kind === 'summary');
    expect(dropped.every((step) => step.content.text === null && step.content.gap)).toBe(true);
    const calls = results.reduce((sum, result) => sum + ('summaries' in result ? (result.summaries ?? 0) : 0), 0);
    expect(calls).toBe(paid * dropped.length);
  },
  60_000,
);

test('a summary whose call fails for a while is tried again, three times, and then done without', async () => {
  const run = await start({ summary: 'fail' });
  let turn = 1;
  let end: ThinkResult | string = '';
  for (; ; turn += 1) {
    end = await activity()(run, turn);
    if (typeof end === 'string') break;
    await answerCalls(run, turn, 300);
  }
  expect(end).toBe('retries MODEL_UNAVAILABLE');
  expect(await activity()(run, turn, 2)).toBe('retries MODEL_UNAVAILABLE');
  expect(await activity()(run, turn, 3)).toBe('retries MODEL_UNAVAILABLE');
  expect(await activity()(run, turn, 4)).toMatchObject({ kind: 'calls' });
  expect(await shortenings(run)).toEqual(['dropped']);
}, 60_000);

test('an attempt that dies between summary and turn, or loses the answer of its commit, makes no second summary', async () => {
  const run = await start();
  let died = 0;
  const dying: TurnStore = {
    ...bench.turns,
    async storeSummary(...args) {
      await bench.turns.storeSummary(...args);
      died += 1;
      throw new TypeError('the worker is gone');
    },
  };
  let turn = 1;
  for (; died === 0; turn += 1) {
    const end = await activity(dying)(run, turn);
    if (typeof end === 'string') break;
    await answerCalls(run, turn, 300);
  }
  const result = await activity()(run, turn, 2);
  expect(result).toMatchObject({ kind: 'calls', summaries: 1 });
  expect((await run.steps()).filter((step) => step.kind === 'summary')).toHaveLength(1);
  expect(wires(run).filter((wire) => textOf(wire).includes(SUMMARY_MARK))).toHaveLength(1);
  expect(await run.row()).toMatchObject({ model_calls: turn + 1 });
}, 60_000);

test('of two attempts that sum up at the same time both pay, and the first summary stands', async () => {
  const run = await start();
  const estimate = (request: ModelRequest) => model.estimateInputTokens(request);
  const open = async (turn: number) => {
    const { id, opened } = await run.openWith(turn, estimate);
    return opened.kind === 'summarise' ? { id, cut: opened.cut } : null;
  };
  let turn = 1;
  let one = await open(turn);
  for (; one === null; one = await open(turn)) {
    await play(run, 1, 300, turn);
    turn += 1;
  }
  const two = await open(turn);
  if (two === null) throw new Error('it was summed up');
  const said = (text: string) => answer([{ type: 'text', text }]);
  await bench.turns.storeSummary(run.ref, turn, one.id, one.cut, said('The first.'));
  await bench.turns.storeSummary(run.ref, turn, two.id, two.cut, said('The second.'));
  expect((await run.steps()).filter((step) => step.kind === 'summary')).toMatchObject([
    { content: { text: 'The first.' } },
  ]);
  const paid = (await run.costs()).filter((cost) => cost.purpose === 'summary');
  expect(paid).toMatchObject([{ state: 'settled' }, { state: 'settled' }]);
  const result = await activity()(run, turn, 3);
  expect(result).toMatchObject({ kind: 'calls', summaries: 1 });
  expect(await activity()(run, turn, 4)).toEqual(result);
}, 60_000);

test('the last model call goes to the turn: nothing is left for a summary', async () => {
  const first = await start();
  let turns = 1;
  for (; ; turns += 1) {
    await play(first, 1, 300, turns);
    if ((await shortenings(first)).length > 0) break;
  }
  const limits = { modelCalls: turns, toolCalls: 1_000, toolCallsPerTurn: 10, tokens: 1e9, activeMs: 1e9 };
  const run = await start({}, { columns: { limits: JSON.stringify(limits) } });
  await play(run, turns, 300);
  expect(await shortenings(run)).toEqual(['dropped']);
  expect(await run.row()).toMatchObject({ model_calls: turns });
}, 60_000);

test('thinking is left out with the words it was written behind, and sent back again after that', async () => {
  const run = await start({ thinking: 'Let me see.' }, { columns: { context_tokens: 2 * WINDOW } });
  await play(run, 60, 900);
  // The offline model takes no thinking behind other words than those it was written behind.
  expect(sent(run).every((request) => request.status === 200)).toBe(true);
  expect(new Set(await shortenings(run))).toEqual(new Set(['results', 'summary']));
  expect(textOf(wires(run).at(-1) as Wire)).toContain('"type":"thinking"');
}, 60_000);

test('what does not fit however it is shortened ends the turn, saying what to do', async () => {
  const run = await start({}, { input: `${'0123456789 '.repeat(900)}\nscript: long-loop` });
  expect(await activity()(run, 1)).toBe('fails MODEL_REQUEST_REFUSED');
  expect(await run.costs()).toEqual([]);
});

test('a result that alone is larger than the window is left out, and the run goes on', async () => {
  const run = await start();
  await play(run, 1, 12_000);
  expect(await activity()(run, 2)).toMatchObject({ kind: 'calls' });
  expect(textOf(wires(run).at(-1) as Wire)).toMatch(/This result of 1\d{4} bytes is left out/);
});

test('words of users longer than their room are cut, the first and the newest kept', async () => {
  const run = await start();
  for (const text of ['blue '.repeat(300), 'green '.repeat(200), 'The newest words.']) {
    await bench.database.query(
      `with run as (update steward.agent_runs set messages_sent = messages_sent + 1 where id = $1 returning messages_sent)
       insert into steward.agent_run_messages (tenant, run_id, number, sent_by, request_id, text)
       select $2, $1, messages_sent, 'ann@acme', messages_sent::text, $3 from run`,
      [run.ref.run, run.ref.tenant, text],
    );
  }
  await play(run, 30, 300);
  const last = wires(run).at(-1) as Wire;
  const first = last.messages[0]?.content.map((block) => block.text) ?? [];
  expect(first[0]).toContain('Look at everything.');
  expect(first).toContain('The newest words.');
  expect(first).toContainEqual(expect.stringContaining('had no room here'));
}, 60_000);

/** What a worker that knows nothing of the run reads of it for its next turn. */
async function readAnew(run: SeededRun): Promise<{ readonly rows: number; readonly bytes: number }> {
  const row = (await run.row()) as Conversing & { readonly id: string };
  const rows = await withTenant(bench.db, run.ref.tenant, (trx) =>
    rowsOf(trx, row.id, { from: row.summarised_through + 1, handles: row.handles_through }),
  );
  return { rows: rows.length, bytes: JSON.stringify(rows).length };
}

/** A run that goes on from another, as run-api writes it. */
async function after(first: SeededRun, columns: Readonly<Record<string, unknown>> = {}): Promise<SeededRun> {
  await bench.calls.close(first.ref, { status: 'cancelled', reason: 'cancelled', message: '' });
  const row = await first.row();
  return start(
    {},
    {
      tenant: first.ref.tenant,
      input: 'Go on with it.',
      columns: {
        earlier_runs: [first.ref.run],
        earlier_steps: [row.step_seq],
        prefix_from: row.prefix_from,
        handles_through: row.handles_through,
        handles_at: row.handles_at,
        summarised_through: row.summarised_through,
        ...columns,
      },
    },
  );
}

test('a run that goes on from a long one is shown what that one was shown, and shortens it further in its own time', async () => {
  const first = await start({ thinking: 'Hm.' }, { columns: { context_tokens: 2 * WINDOW } });
  await play(first, 30, 900);
  // Just behind a hop, so that there is room for a while.
  const hops = (await shortenings(first)).length;
  for (let turn = 31; (await shortenings(first)).length === hops; turn += 1) await play(first, 1, 900, turn);
  const shown = wires(first).at(-1) as Wire;
  const second = await after(first, { context_tokens: 2 * WINDOW });
  await play(second, 1, 900);
  const begun = wires(second).at(0) as Wire;
  expect(extendsIt(shown, begun)).toBe(true);
  expect(JSON.stringify(begun.messages.at(-1))).toContain('Go on with it.');
  await play(second, 30, 900, 2);
  expect((await shortenings(second)).length).toBeGreaterThan(0);
  expect(sent(second).every((request) => request.status === 200)).toBe(true);
  // One with a smaller window sums up what the others were shown, before its first turn.
  const small = await after(first, { context_tokens: WINDOW });
  await play(small, 6, 300);
  expect(await shortenings(small)).toContain('summary');
  expect(sent(small).every((request) => request.status === 200)).toBe(true);
  expect(JSON.stringify((wires(small).at(-1) as Wire).messages[0])).toContain('Look at everything.');
}, 60_000);
