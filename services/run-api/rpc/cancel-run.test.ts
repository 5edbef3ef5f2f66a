import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { RunningTemporal } from '#deploy/dev/temporal.ts';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { listen } from '#platform/database/listen.ts';
import { CANCEL_CHANNEL } from '#platform/database/notify.ts';
import { connectTemporal } from '#platform/temporal/client.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
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

const kinds = async (run: string) =>
  (
    await bench.database.query('select kind from steward.agent_run_events where run_id = $1 order by sequence', [run])
  ).map((row) => row.kind);

test('a cancel is committed, pushed to the workers and told to Temporal; twice is once', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant);
  const pushed = Promise.withResolvers<string>();
  const worker = listen({
    url: bench.env.DATABASE_URL ?? '',
    channels: [CANCEL_CHANNEL],
    onNotify: (_channel, payload) => pushed.resolve(payload),
  });
  await worker.ready;
  const { runs } = bench.as({ tenant });
  const first = await runs.cancelRun({ runId: run.id, requestId: 'c', reason: 'not needed' });
  expect(first.run?.stopReason).toBe('being cancelled by ann@acme');
  expect(await pushed.promise).toBe(run.id);
  await worker.close();
  const again = await runs.cancelRun({ runId: run.id, requestId: 'c2', reason: 'again' });
  expect(again.run?.head).toBe(first.run?.head);
  expect(await kinds(run.id)).toEqual(['run.created', 'run.cancelling']);
  const outbox = await bench.database.query(
    'select kind, delivered_at from steward.outbox where run_id = $1 order by id',
    [run.id],
  );
  expect(outbox).toEqual([
    { kind: 'start', delivered_at: expect.any(Date) },
    { kind: 'cancel', delivered_at: expect.any(Date) },
  ]);
  const client = connectTemporal({ address: temporal.address, namespace: temporal.namespace });
  const { events } = await client.client.workflow.getHandle(`run/${run.id}`).fetchHistory();
  expect(events?.filter((event) => event.workflowExecutionCancelRequestedEventAttributes)).toHaveLength(1);
  await client.close();
  const audit = await bench.database.query(
    'select actor, action, data from steward.audit_log where run_id = $1 order by id',
    [run.id],
  );
  expect(audit.at(-1)).toEqual({ actor: 'ann@acme', action: 'run.cancel', data: { reason: 'not needed' } });
});

test('a queued run is closed at once, and one that frees a slot starts the next', async () => {
  const tenant = await bench.tenant({ max_concurrent_runs: 1 });
  const { runs } = bench.as({ tenant });
  const [held, second, third] = [await bench.start(tenant), await bench.start(tenant), await bench.start(tenant)];
  const closed = await runs.cancelRun({ runId: second?.id ?? '' });
  expect(closed.run).toMatchObject({ status: RunStatus.CANCELLED, stopReason: 'cancelled by ann@acme' });
  expect(closed.run?.closedAt).toBeDefined();
  expect(await kinds(second?.id ?? '')).toEqual(['run.created', 'run.queued', 'run.cancelling', 'run.closed']);
  expect((await runs.cancelRun({ runId: second?.id ?? '' })).run?.status).toBe(RunStatus.CANCELLED);

  // As if its start had never been tried: the workflow of the first run is not known of.
  await bench.database.query(
    `with back as (update steward.outbox set delivered_at = null, attempts = 0, held_until = null where run_id = $1)
     update steward.agent_runs set workflow_started_at = null where id = $1`,
    [held?.id],
  );
  const withdrawn = await runs.cancelRun({ runId: held?.id ?? '' });
  expect(withdrawn.run?.status).toBe(RunStatus.CANCELLED);
  const rows = await bench.database.query(
    'select kind, last_error, delivered_at from steward.outbox where run_id = $1',
    [held?.id],
  );
  expect(rows).toMatchObject([{ kind: 'start', last_error: expect.stringContaining('cancelled before') }]);
  const promoted = await runs.getRun({ runId: third?.id ?? '' });
  expect(promoted.run?.status).toBe(RunStatus.PENDING);
  const [start] = await bench.database.query('select delivered_at from steward.outbox where run_id = $1', [third?.id]);
  expect(start?.delivered_at).toBeInstanceOf(Date);
});

test('a start that may have reached Temporal is cancelled there, after it', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant);
  await bench.database.query(
    `with back as (update steward.outbox set delivered_at = null, attempts = 1 where run_id = $1)
     update steward.agent_runs set workflow_started_at = null where id = $1`,
    [run.id],
  );
  const { run: after } = await bench.as({ tenant }).runs.cancelRun({ runId: run.id });
  expect(after?.status).toBe(RunStatus.PENDING);
  const rows = await bench.database.query(
    'select kind, delivered_at is not null as delivered from steward.outbox where run_id = $1 order by id',
    [run.id],
  );
  // The start's hold by its first deliverer is not over, so the cancel waits behind it.
  expect(rows.map((row) => row.kind)).toEqual(['start', 'cancel']);
  await bench.database.query('update steward.outbox set held_until = null where run_id = $1', [run.id]);
  await bench.as({ tenant }).runs.cancelRun({ runId: run.id });
  const [pending] = await bench.database.query(
    'select count(*)::int as n from steward.outbox where run_id = $1 and delivered_at is null',
    [run.id],
  );
  expect(pending?.n).toBe(0);
});

test('who may cancel: operators, admins, who started it, the user it acts for; others not, foreign runs do not exist', async () => {
  const tenant = await bench.tenant();
  const service = { tenant, subject: 'shop', roles: ['service'], onBehalfOf: 'ann@acme' } as const;
  const start = async () =>
    (await bench.as(service).runs.startRun({ requestId: crypto.randomUUID(), agent: 'helper', input: 'x' })).run?.id ??
    '';
  for (const caller of [
    service,
    { tenant, subject: 'shop', roles: ['service'] },
    { tenant, subject: 'ann@acme', roles: ['user'] },
    { tenant, subject: 'other', roles: ['service'], onBehalfOf: 'ann@acme' },
    { tenant, subject: 'op@acme', roles: ['operator'] },
    { tenant, subject: 'ad@acme', roles: ['admin'] },
  ] as const) {
    const { run } = await bench.as(caller).runs.cancelRun({ runId: await start() });
    expect(run?.stopReason).toBe(`being cancelled by ${caller.subject}`);
  }
  const runId = await start();
  for (const role of ['approver', 'auditor'] as const) {
    const error = await stewardErrorOf(
      bench.as({ tenant, subject: 'x@acme', roles: [role] }).runs.cancelRun({ runId }),
    );
    expect(error.code).toBe('ROLE_MISSING');
  }
  const other = await bench.tenant();
  for (const caller of [
    { tenant, subject: 'eve@acme', roles: ['user'] },
    { tenant, subject: 'mall', roles: ['service'], onBehalfOf: 'eve@acme' },
    { tenant: other, subject: 'ann@acme', roles: ['operator', 'admin'] },
    { ...service, tenant: other },
  ] as const) {
    const { runs } = bench.as(caller);
    for (const call of [
      runs.cancelRun({ runId }),
      runs.pauseRun({ runId }),
      runs.resumeRun({ runId }),
      runs.getRun({ runId }),
      runs.listSteps({ runId }),
      runs.getToolCall({ runId, callId: '1.0' }),
    ]) {
      expect((await stewardErrorOf(call)).code).toBe('NOT_FOUND');
    }
    expect((await runs.listRuns({})).runs).toEqual([]);
  }
  expect(await kinds(runId)).toEqual(['run.created']);
});

test('a closed run is not cancelled any more', async () => {
  const tenant = await bench.tenant();
  const run = await bench.database.run(tenant, { status: 'completed', closed_at: new Date() });
  const { runs } = bench.as({ tenant });
  const error = await stewardErrorOf(runs.cancelRun({ runId: run }));
  expect(error).toMatchObject({ code: 'WRONG_STATE', message: expect.stringContaining('closed already: completed') });
  expect((await stewardErrorOf(runs.cancelRun({ runId: 'x' }))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(runs.cancelRun({ runId: run, reason: 'x'.repeat(501) }))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(runs.cancelRun({ runId: 'no-such-run-at-all' }))).code).toBe('NOT_FOUND');
});
