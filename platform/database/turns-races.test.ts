import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { answer, type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import { lockRemainders } from './accounts.ts';
import { withTenant } from './tenant.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

const FAILED = { code: 'MODEL_OVERLOADED', message: 'overloaded', retrying: true } as const;

const store = (run: SeededRun, turn: number, id: string, ...said: Parameters<typeof answer>) =>
  bench.turns.storeAnswer(run.ref, turn, id, answer(...said), 0);

test('of two attempts that answer at the same time the first stored message wins; the other pays for itself', async () => {
  const run = await bench.run();
  const [one, two] = await Promise.all([run.open(1), run.open(1, { number: 2 })]);
  expect([one.opened.kind, two.opened.kind]).toEqual(['reserved', 'reserved']);
  const [first, second] = await Promise.all([
    store(run, 1, one.id, [{ type: 'text', text: 'One.' }], { usage: { output: 40 } }),
    store(run, 1, two.id, [{ type: 'text', text: 'Two.' }], { usage: { output: 60 } }),
  ]);
  expect(first).toEqual(second);
  expect(await run.steps()).toHaveLength(2);
  expect(await run.row()).toMatchObject({ turns: 1, model_calls: 1 });
  const costs = await run.costs();
  expect(costs.map((cost) => [cost.state, cost.settled_micro_usd]).toSorted()).toEqual([
    ['settled', 300],
    ['settled', 400],
  ]);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: 700 });
  expect((await run.kinds()).filter((kind) => kind === 'turn.answered')).toHaveLength(1);
  // Its tokens are those of the message that is stored.
  expect((await run.open(1)).opened).toMatchObject({ kind: 'stored', turn: first });
  expect([140, 160]).toContain(first.tokens);
});

test('an attempt that opens a turn while it is being stored calls no model', async () => {
  const run = await bench.run();
  const { id } = await run.open(1);
  const opened = await Promise.all([
    store(run, 1, id),
    ...Array.from({ length: 6 }, (_, nth) => run.open(1, { number: nth + 2 })),
  ]);
  const kinds = opened.slice(1).map((one) => (one as { opened: { kind: string } }).opened.kind);
  const reserved = (await run.costs()).filter((cost) => cost.state === 'reserved');
  expect(kinds.filter((kind) => kind === 'reserved')).toHaveLength(reserved.length);
  expect((await run.open(1)).opened.kind).toBe('stored');
});

/** Opens a turn while somebody else holds the run's account, changes something, and lets go. */
async function openAfter(run: SeededRun, change: () => Promise<unknown>) {
  const [held, changed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holder = withTenant(bench.db, run.ref.tenant, async (trx) => {
    await lockRemainders(trx, run.ref.tenant, run.ref.run, new Date());
    held.resolve();
    await changed.promise;
  });
  await held.promise;
  const opened = run.open(1);
  const waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
  for (const until = Date.now() + 5_000; (await bench.database.query(waiting)).length === 0; ) {
    expect(Date.now()).toBeLessThan(until);
  }
  await change();
  changed.resolve();
  await holder;
  return (await opened).opened;
}

test.each([
  ["status = 'completed', closed_at = now()", { kind: 'closed', status: 'completed' }],
  ["cancel_requested_by = 'op'", { kind: 'cancelled' }],
  ["status = 'paused', paused_by = 'op'", { kind: 'paused' }],
])('what happens while a turn waits for its money counts: %s', async (columns, opened) => {
  const run = await bench.run();
  const change = () => bench.database.query(`update steward.agent_runs set ${columns} where id = $1`, [run.ref.run]);
  expect(await openAfter(run, change)).toEqual(opened);
  expect(await run.costs()).toEqual([]);
});

test('a message that is stored while another attempt waits for its money is found, and not paid for again', async () => {
  const run = await bench.run();
  const { id } = await run.open(1);
  // As the first attempt would, whose locks are taken here already.
  const message = JSON.stringify({ content: [], stop: 'end_turn', attempt: id });
  const opened = await openAfter(run, async () => {
    await bench.database.query(
      `insert into steward.agent_run_steps (tenant, run_id, number, kind, turn, content)
       values ($1, $2, 2, 'model_message', 1, $3)`,
      [run.ref.tenant, run.ref.run, message],
    );
    await bench.database.query('update steward.agent_runs set turns = 1 where id = $1', [run.ref.run]);
  });
  expect(opened).toMatchObject({ kind: 'stored', turn: { stop: 'end_turn', proposals: [] } });
  expect(await run.costs()).toHaveLength(1);
});

test('an answer that comes after the end changes the ledger and nothing of the run', async () => {
  const run = await bench.run();
  const [one, two] = [await run.open(1), await run.open(1, { number: 2 })];
  const closed = await bench.calls.close(run.ref, { status: 'cancelled', reason: 'cancelled', message: 'stopped' });
  expect(closed.costMicroUsd).toBe(12_500);
  const [before, kinds] = [await run.row(), await run.kinds()];
  expect(await store(run, 1, one.id)).toMatchObject({ costMicroUsd: 200 });
  await bench.turns.endAttempt(run.ref, 1, two.id, { kind: 'nothing' }, FAILED);
  expect(await run.row()).toEqual(before);
  expect(await run.kinds()).toEqual(kinds);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: 200 });
});

test('what another attempt reads of messages while a turn waits for its money is part of it', async () => {
  const run = await bench.run();
  const { ref } = run;
  const opened = await openAfter(run, async () => {
    await bench.database.query(
      `insert into steward.agent_run_steps (tenant, run_id, number, kind, turn, content)
       values ($1, $2, 2, 'user_message', 1, '{"text":"Wait!"}')`,
      [ref.tenant, ref.run],
    );
    await bench.database.query('update steward.agent_runs set step_seq = 2 where id = $1', [ref.run]);
  });
  expect(opened.kind === 'reserved' && opened.request.messages).toEqual([
    {
      role: 'user',
      content: [
        { type: 'text', text: 'Do it.' },
        { type: 'text', text: 'Wait!' },
      ],
    },
  ]);
  expect(await run.costs()).toHaveLength(1);
});
