import { randomUUID } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { RunningTemporal } from '#deploy/dev/temporal.ts';
import { RunStatus, StartRunRequestSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { runGrantVerifier } from '#platform/identity/grants.ts';
import { publicKeySet, readPrivateKey } from '#platform/identity/key-pair.ts';
import type { Role } from '#platform/identity/principal.ts';
import { connectTemporal } from '#platform/temporal/client.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { codeIn, rawCall } from '#test/support/rpc.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';
import { testTemporal } from '#test/support/temporal.ts';

let temporal: RunningTemporal;
let bench: RunApiBench;

beforeAll(async () => {
  temporal = await testTemporal();
  bench = await runApiBench({ temporal: temporal.address });
}, 180_000);

afterAll(async () => {
  await bench.stop();
  await temporal.stop();
}, 60_000);

const good = { agent: 'helper', input: 'Help me.' };
const one = async (table: string, run: string) =>
  bench.database.query(`select * from steward.${table} where run_id = $1 order by 1`, [run]);

test('a start is one commit, and Temporal knows of it', async () => {
  const tenant = await bench.tenant();
  const service = bench.as({ tenant, subject: 'shop', roles: ['service'], onBehalfOf: 'ann@acme' }).runs;
  const { run, repeated } = await service.startRun({
    ...good,
    requestId: 'r-1',
    labels: { order: 'o-1', 'team.name': 'desk' },
    narrowing: {
      tools: ['look', 'note'],
      budgetMicroUsd: 200_000n,
      resources: ['order/o-1'],
      limits: { modelCalls: 3, toolCalls: 99, activeTime: durationFromMs(60_000) },
    },
  });
  expect(repeated).toBe(false);
  expect(run).toMatchObject({
    tenant,
    agent: 'helper',
    actingUser: 'ann@acme',
    startedBy: 'shop',
    status: RunStatus.PENDING,
    cost: { budgetMicroUsd: 200_000n, settledMicroUsd: 0n, reservedMicroUsd: 0n },
    workflowId: `run/${run?.id}`,
    temporalUi: `http://127.0.0.1:8233/namespaces/steward/workflows/run%2F${run?.id}`,
    head: 1n,
  });
  const id = run?.id ?? '';
  const [row] = await bench.database.query('select * from steward.agent_runs where id = $1', [id]);
  expect(row).toMatchObject({
    tools: { desk: ['look', 'note'] },
    resources: ['order/o-1'],
    limits: { modelCalls: 3, toolCalls: 20, toolCallsPerTurn: 10, tokens: 2_000_000, activeMs: 60_000 },
    workflow_started_at: expect.any(Date),
    admitted_at: expect.any(Date),
  });
  const key = publicKeySet(await readPrivateKey(bench.env.STEWARD_RUN_GRANT_KEY_FILE ?? ''));
  expect(await runGrantVerifier(key).verify(row?.run_grant)).toMatchObject({
    tenant,
    run: id,
    user: 'ann@acme',
    agent: 'helper',
    agentHash: run?.agentHash,
    tools: { desk: ['look', 'note'] },
    resources: ['order/o-1'],
    permissions: ['desk:read', 'desk:write'],
  });
  expect(await one('agent_run_steps', id)).toMatchObject([
    { number: 1, kind: 'user_message', content: { text: 'Help me.' } },
  ]);
  expect(await one('agent_run_events', id)).toMatchObject([{ sequence: 1, kind: 'run.created' }]);
  expect(await one('audit_log', id)).toMatchObject([{ actor: 'shop', action: 'run.start' }]);
  expect(await one('outbox', id)).toMatchObject([{ kind: 'start', delivered_at: expect.any(Date) }]);
  const client = connectTemporal({ address: temporal.address, namespace: temporal.namespace });
  const description = await client.client.workflow.getHandle(`run/${id}`).describe();
  expect(description.status.name).toBe('RUNNING');
  await client.close();
});

test('twenty repeats at once are one run; another body is refused', async () => {
  const tenant = await bench.tenant();
  const { runs } = bench.as({ tenant });
  const answers = await Promise.all(Array.from({ length: 20 }, () => runs.startRun({ ...good, requestId: 'same' })));
  expect(new Set(answers.map((answer) => answer.run?.id)).size).toBe(1);
  expect(answers.filter((answer) => !answer.repeated)).toHaveLength(1);
  expect(await bench.database.query('select id from steward.agent_runs where tenant = $1', [tenant])).toHaveLength(1);
  expect(await one('outbox', answers[0]?.run?.id ?? '')).toHaveLength(1);

  for (const other of [{ input: 'Something else.' }, { labels: { a: 'b' } }, { narrowing: { budgetMicroUsd: 1n } }]) {
    const error = await stewardErrorOf(runs.startRun({ ...good, requestId: 'same', ...other }));
    expect(error.code).toBe('REQUEST_ID_REUSED');
    expect(error.message).toContain(answers[0]?.run?.id);
  }
  // Another caller's request ids are their own.
  const other = await bench.as({ tenant, subject: 'bob@acme' }).runs.startRun({ ...good, requestId: 'same' });
  expect(other.repeated).toBe(false);
  // A service that acts for somebody else asks for something else.
  const shop = (onBehalfOf: string) => bench.as({ tenant, subject: 'shop', roles: ['service'], onBehalfOf }).runs;
  await shop('ann@acme').startRun({ ...good, requestId: 's' });
  expect((await stewardErrorOf(shop('eve@acme').startRun({ ...good, requestId: 's' }))).code).toBe('REQUEST_ID_REUSED');
});

test('a repeat brings a start to Temporal that was never delivered, whatever became of the agent', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant, { requestId: 'lost' });
  await bench.database.query('update steward.outbox set delivered_at = null where run_id = $1', [run.id]);
  await bench.database.query('update steward.agent_runs set workflow_started_at = null where id = $1', [run.id]);
  await bench.database.query('update steward.agents set is_current = false where tenant = $1', [tenant]);
  const again = await bench.start(tenant, { requestId: 'lost' });
  expect(again.id).toBe(run.id);
  expect(await one('outbox', run.id)).toMatchObject([{ delivered_at: expect.any(Date) }]);
});

test('everything that is wrong with a request is named, and nothing is written', async () => {
  const tenant = await bench.tenant();
  const { runs } = bench.as({ tenant });
  const faulty: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ requestId: '' }, 'request_id is needed'],
    [{ requestId: 'x'.repeat(101) }, 'request_id must have at most 100 characters'],
    [{ requestId: 'a\nb' }, 'request_id must be one line'],
    [{ agent: '' }, 'agent must be the name of an agent'],
    [{ agentHash: 'abc' }, 'agent_hash must be 64 hex digits'],
    [{ input: '' }, 'input is needed'],
    [{ input: 'x'.repeat(100_001) }, 'input must have at most 100000 characters'],
    [{ input: 'a\0b' }, 'input must not contain NUL characters'],
    [{ labels: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`l${i}`, ''])) }, 'labels must be at most 20'],
    [{ labels: { 'Not Good': 'x' } }, 'labels must have keys of'],
    [{ labels: { a: 'x'.repeat(201) } }, 'labels["a"] must have at most 200 characters'],
    [
      { narrowing: { tools: ['look', 'fly'] } },
      'narrowing.tools names fly, which agent helper does not have. It has: look,',
    ],
    [
      { narrowing: { budgetMicroUsd: 500_001n } },
      'narrowing.budget_micro_usd is 500001, above the 500000 of agent helper',
    ],
    [{ narrowing: { budgetMicroUsd: -1n } }, 'narrowing.budget_micro_usd must be 0'],
    [{ narrowing: { resources: ['apollo'] } }, 'narrowing.resources[0] must be kind/id'],
    [
      { narrowing: { resources: Array.from({ length: 101 }, (_, i) => `a/${i}`) } },
      'narrowing.resources must be at most 100',
    ],
    [{ narrowing: { limits: { modelCalls: -1 } } }, 'narrowing.limits.model_calls must be 0'],
    [
      { narrowing: { limits: { activeTime: durationFromMs(10) } } },
      'narrowing.limits.active_time must be at least 1 s',
    ],
  ];
  for (const [part, message] of faulty) {
    const error = await stewardErrorOf(runs.startRun({ ...good, requestId: 'bad', ...part }));
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining(message) });
  }
  const many = await stewardErrorOf(runs.startRun({ requestId: '', agent: '', input: '' }));
  expect(many.message).toMatch(/3 faults: request_id .*; agent .*; input /);
  const unknown = await stewardErrorOf(runs.startRun({ ...good, requestId: 'bad', agent: 'nobody' }));
  expect(unknown).toMatchObject({ code: 'AGENT_UNKNOWN', message: expect.stringContaining('there are: helper') });
  const version = await stewardErrorOf(runs.startRun({ ...good, requestId: 'bad', agentHash: 'f'.repeat(64) }));
  expect(version).toMatchObject({ code: 'AGENT_UNKNOWN', message: expect.stringContaining('has no version') });
  expect(await bench.database.query('select id from steward.agent_runs where tenant = $1', [tenant])).toHaveLength(0);
});

test('tokens, roles, tenants, unknown fields and sizes are refused with their status', async () => {
  const tenant = await bench.tenant();
  const path = '/steward.run.v1.RunService/StartRun';
  const bytes = toBinary(StartRunRequestSchema, create(StartRunRequestSchema, { ...good, requestId: 'raw' }));
  const call = async (token: string | null, body: Uint8Array = bytes) => {
    const answer = await rawCall(bench.address, path, body, token === null ? {} : { authorization: `Bearer ${token}` });
    return [answer.code, codeIn(answer)];
  };
  const { issuer } = bench;
  expect(await call(null)).toEqual([16, 'TOKEN_MISSING']);
  expect(await call('nonsense')).toEqual([16, 'TOKEN_INVALID']);
  expect(await call(await issuer.token({ tenant }, -60))).toEqual([16, 'TOKEN_EXPIRED']);
  expect(await call(await issuer.token({ tenant, audience: 'other' }))).toEqual([16, 'TOKEN_WRONG_AUDIENCE']);
  expect(await call(await issuer.token({ tenant, roles: ['approver'] }))).toEqual([7, 'ROLE_MISSING']);
  expect(await call(await issuer.token({ tenant: '', roles: ['worker'] }))).toEqual([7, 'ROLE_MISSING']);
  const operator = await issuer.token({ tenant });
  // Field 99, varint 1.
  expect(await call(operator, Buffer.concat([bytes, Buffer.from([0x98, 0x06, 0x01])]))).toEqual([3, 'UNKNOWN_FIELD']);
  expect(await call(operator, Buffer.from('not protobuf at all'))).toEqual([3, 'INVALID_REQUEST']);
  expect((await call(operator, Buffer.alloc(1_100_000)))[0]).toBe(8);
  expect(await call(operator)).toEqual([0, '']);

  const other = await bench.tenant();
  const foreign = await stewardErrorOf(bench.as({ tenant }).runs.startRun({ ...good, requestId: 'f', tenant: other }));
  expect(foreign.code).toBe('TENANT_MISMATCH');
  expect((await bench.as({ tenant }).runs.startRun({ ...good, requestId: 'f', tenant })).repeated).toBe(false);
  const alone = bench.as({ tenant, subject: 'shop', roles: ['service'] }).runs;
  const refused = await stewardErrorOf(alone.startRun({ ...good, requestId: 'f' }));
  expect(refused).toMatchObject({ code: 'NOT_PERMITTED', message: expect.stringContaining('on_behalf_of') });
  const nowhere = bench.as({ tenant: 'no-such-tenant' }).runs;
  expect((await stewardErrorOf(nowhere.startRun({ ...good, requestId: 'f' }))).code).toBe('AGENT_UNKNOWN');
});

test('twenty starts at once get the slots there are, the others wait in order', async () => {
  const tenant = await bench.tenant({ max_concurrent_runs: 3 });
  const runs = await Promise.all(Array.from({ length: 20 }, () => bench.start(tenant)));
  expect(runs.filter((run) => run.status === RunStatus.PENDING)).toHaveLength(3);
  const queued = runs.filter((run) => run.status === RunStatus.QUEUED);
  expect(queued).toHaveLength(17);
  for (const run of queued) {
    expect(run.stopReason).toBe('all 3 slots of the tenant are taken');
    expect(Number(run.waitsUntil?.seconds) * 1_000 - Date.now()).toBeGreaterThan(23 * 3_600_000);
    expect(await one('outbox', run.id)).toHaveLength(0);
  }
  // A cancelled one gives its slot to the oldest in the queue.
  const [oldest] = await bench.database.query<{ id: string }>(
    "select id from steward.agent_runs where tenant = $1 and status = 'queued' order by created_at, id limit 1",
    [tenant],
  );
  await bench.database.query("update steward.agent_runs set closed_at = now(), status = 'completed' where id = $1", [
    runs.find((run) => run.status === RunStatus.PENDING)?.id,
  ]);
  const next = await bench.start(tenant);
  expect(next.status).toBe(RunStatus.QUEUED);
  expect(await one('outbox', oldest?.id ?? '')).toMatchObject([{ kind: 'start', delivered_at: expect.any(Date) }]);
});

test('a version that was replaced is for services and operators, not for users', async () => {
  const tenant = await bench.tenant();
  const [current] = await bench.database.query<{ hash: string }>(
    "select hash from steward.agents where tenant = $1 and name = 'helper'",
    [tenant],
  );
  await bench.database.query(
    `insert into steward.agents select (jsonb_populate_record(a, jsonb_build_object('hash', repeat('b', 64), 'is_current', false))).*
     from steward.agents a where tenant = $1 and name = 'helper'`,
    [tenant],
  );
  const start = (roles: readonly Role[], agentHash: string) =>
    bench
      .as({ tenant, subject: 'ann@acme', roles })
      .runs.startRun({ requestId: randomUUID(), agent: 'helper', input: 'x', agentHash });
  expect((await stewardErrorOf(start(['user'], 'b'.repeat(64)))).code).toBe('NOT_PERMITTED');
  await start(['user'], current?.hash ?? '');
  await start(['operator'], 'b'.repeat(64));
});

test('a token that says what its user may do starts no run that may do more', async () => {
  const tenant = await bench.tenant();
  const as = (permissions: readonly string[]) =>
    bench.as({ tenant, subject: 'shop', roles: ['service'], onBehalfOf: 'ann@acme', permissions }).runs;
  const refused = await stewardErrorOf(as([]).startRun({ ...good, requestId: 'p-1' }));
  expect(refused).toMatchObject({ code: 'NOT_PERMITTED', message: expect.stringContaining('narrowing.tools') });
  const needed = String(refused.details.missing).split(' ');
  await as(needed).startRun({ ...good, requestId: 'p-2' });
  const [, ...fewer] = needed;
  expect((await stewardErrorOf(as(fewer).startRun({ ...good, requestId: 'p-3' }))).code).toBe('NOT_PERMITTED');
});

test('the daily cap queues until midnight, the month refuses, a limit of 0 refuses', async () => {
  const tenant = await bench.tenant({ max_runs_per_day: 2 });
  const runs = [await bench.start(tenant), await bench.start(tenant), await bench.start(tenant)];
  expect(runs.map((run) => run.status)).toEqual([RunStatus.PENDING, RunStatus.PENDING, RunStatus.QUEUED]);
  expect(runs[2]?.stopReason).toContain('2 runs of today');
  expect(Number(runs[2]?.waitsUntil?.seconds) % 86_400).toBe(0);
  expect(await one('agent_run_events', runs[2]?.id ?? '')).toMatchObject([
    { kind: 'run.created' },
    { kind: 'run.queued' },
  ]);

  const poor = await bench.tenant({ month_budget_micro_usd: 1_000 });
  await bench.start(poor);
  await bench.database.query(
    "update steward.ledger_accounts set settled_micro_usd = 600, reserved_micro_usd = 400 where tenant = $1 and id like 'tenant-month/%'",
    [poor],
  );
  const spent = await stewardErrorOf(bench.start(poor));
  expect(spent).toMatchObject({ code: 'BUDGET_EXCEEDED', message: expect.stringContaining('1000 micro-USD') });

  const shut = await bench.tenant({ max_concurrent_runs: 0 });
  expect((await stewardErrorOf(bench.start(shut))).code).toBe('LIMIT_REACHED');
});
