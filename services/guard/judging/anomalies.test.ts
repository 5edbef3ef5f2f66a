import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { VerdictKind } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

const read = (id: string) => ({ tool: 'read_note', args: { note_id: id } });
const destroy = (id: string) => ({ tool: 'delete_note', args: { note_id: id } });

async function paused(run: BenchRun) {
  const row = await run.row();
  const events = (await run.rows('events')).filter(({ kind }) => kind === 'run.anomaly');
  const queue = await bench.database.query<{ reasons: string[]; evidence: { kind: string; text: string }[] }>(
    'select reasons, evidence from steward.investigations where run_id = $1',
    [run.id],
  );
  return { status: row.status, by: row.paused_by, events, queue };
}

/** A tenant whose agent has a history: `calls` calls and `micro` of cost in each of six runs. */
async function history(calls: number, micro: number): Promise<string> {
  const tenant = await bench.database.tenant();
  for (let at = 0; at < 6; at += 1) {
    const columns = { status: 'completed', tool_calls: calls, closed_at: new Date(Date.now() - at * 1_000) };
    const { id } = await bench.run({ tenant, columns });
    await bench.database.query(
      `insert into steward.ledger_accounts (tenant, id, limit_micro_usd, settled_micro_usd) values ($1, $2, 1000000, $3)`,
      [tenant, `run/${id}`, micro],
    );
  }
  return tenant;
}

test('a run that makes five times its agent’s calls is paused, nothing of its turn begins, and a person is told', async () => {
  const tenant = await history(6, 1_000);
  const usual = await bench.run({ tenant, columns: { tool_calls: 28 } });
  await usual.judge([read('n1')], 1, true);
  expect(await paused(usual)).toMatchObject({ status: 'running', events: [], queue: [] });

  const run = await bench.run({ tenant, columns: { tool_calls: 29 } });
  const { calls } = await run.judge([read('n1')], 1, true);
  expect(calls[0]?.verdict).toBe(VerdictKind.ALLOW);
  expect(calls[0]?.begun).toBeUndefined();
  const { status, by, events, queue } = await paused(run);
  expect([status, by]).toEqual(['paused', 'steward']);
  expect(events[0]?.data).toMatchObject({ kinds: ['calls'], what: [expect.stringContaining('made 30 tool calls')] });
  expect(queue).toEqual([{ reasons: ['anomaly'], evidence: [expect.objectContaining({ kind: 'calls', value: 30 })] }]);
  expect(await run.rows('outbox')).toMatchObject([{ kind: 'pause', payload: { by: 'steward' } }]);
  expect((await run.rows('audit')).map(({ action }) => action)).toContain('run.anomaly');
  const refused = bench.worker.authorize({ runGrant: run.runGrant, callId: '1.0', digest: calls[0]?.digest ?? '' });
  await expect(refused).rejects.toThrow(/is paused/);
});

test('a run that somebody has paused is looked at all the same, and is the watcher’s from then on', async () => {
  const tenant = await history(6, 1_000);
  const columns = { tool_calls: 29, status: 'paused', paused_by: 'shop@acme' };
  const run = await bench.run({ tenant, columns });
  await run.judge([read('n1')], 1, true);
  const { status, by, queue } = await paused(run);
  expect([status, by]).toEqual(['paused', 'steward']);
  expect(queue).toMatchObject([{ reasons: ['anomaly'] }]);
});

test('once a person has let it go on, the same rule does not pause it again', async () => {
  const tenant = await history(6, 1_000);
  const run = await bench.run({ tenant, columns: { tool_calls: 40 } });
  await run.judge([read('n1')], 1, true);
  await bench.database.query(`update steward.agent_runs set status = 'running', paused_by = null where id = $1`, [
    run.id,
  ]);
  const { calls } = await run.judge([read('n2')], 2, true);
  expect(calls[0]?.begun).toBeDefined();
  expect(await paused(run)).toMatchObject({ status: 'running' });
});

test('a run that costs twenty times what its agent usually costs is paused', async () => {
  const tenant = await history(6, 10_000);
  const run = await bench.run({ tenant });
  const account = `insert into steward.ledger_accounts (tenant, id, limit_micro_usd, settled_micro_usd)
    values ($1, $2, 1000000, 200000)`;
  await bench.database.query(account, [tenant, `run/${run.id}`]);
  await run.judge([read('n1')]);
  expect((await paused(run)).events[0]?.data).toMatchObject({ kinds: ['cost'] });
});

test('two calls in turn are a loop, and three proposals of what it may not use are enough', async () => {
  const run = await bench.run();
  for (let turn = 1; turn <= 8; turn += 1) await run.judge([read(turn % 2 === 0 ? 'a' : 'b')], turn);
  expect((await paused(run)).events[0]?.data).toMatchObject({ kinds: ['ping_pong'] });

  const rogue = await bench.run();
  await rogue.judge([{ tool: 'format_disk' }, { tool: 'wire_money' }]);
  expect(await paused(rogue)).toMatchObject({ status: 'running' });
  await rogue.judge([{ tool: 'read_secrets' }], 2);
  expect((await paused(rogue)).events[0]?.data).toMatchObject({ kinds: ['unauthorised'] });
});

test('more than ten destructive approvals of one agent within an hour pause the run that asks for the next', async () => {
  const tenant = await bench.database.tenant();
  const other = await bench.run({ tenant });
  await other.judge(Array.from({ length: 9 }, (_, at) => destroy(`n${at}`)));
  const run = await bench.run({ tenant });
  await run.judge([destroy('m1')]);
  expect(await paused(run)).toMatchObject({ status: 'awaiting_approval' });
  await run.judge([destroy('m2')], 2);
  expect((await paused(run)).events[0]?.data).toMatchObject({ kinds: ['approvals'] });
  const elsewhere = await bench.run();
  await elsewhere.judge([destroy('m1')]);
  expect(await paused(elsewhere)).toMatchObject({ status: 'awaiting_approval' });
});

test('an agent may have thresholds of its own', async () => {
  const tenant = await history(6, 1_000);
  const columns = { tool_calls: 40, anomaly_limits: JSON.stringify({ calls: 50 }) };
  const run = await bench.run({ tenant, columns });
  await run.judge([read('n1')]);
  expect(await paused(run)).toMatchObject({ status: 'running', events: [] });
});
