import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { MOST_MESSAGES, MOST_UNREAD } from '#domain/messages.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Caller, type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;
let tenant: string;

beforeAll(async () => {
  bench = await runApiBench();
  tenant = await bench.database.tenant();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

const SHOP: Omit<Caller, 'tenant'> = { subject: 'shop@acme', roles: ['service'] };
const ANN: Omit<Caller, 'tenant'> = { subject: 'ann@acme', roles: ['user'] };

const as = (who: Omit<Caller, 'tenant'>, of = tenant) => bench.as({ tenant: of, ...who }).runs;
const messages = (run: string) =>
  bench.database.query(
    'select number, sent_by, text from steward.agent_run_messages where run_id = $1 order by number',
    [run],
  );
const says = (run: string, text: string, requestId: string = crypto.randomUUID()) => ({ runId: run, requestId, text });

test('a message is taken once per sender and request id, numbered, with its event and its line in the audit log', async () => {
  const run = await bench.database.run(tenant);
  const first = await as(ANN).sendMessage(says(run, 'Only the blue ones.', 'm-1'));
  expect(first).toMatchObject({ repeated: false, run: { id: run, head: 1n } });
  expect(await as(ANN).sendMessage(says(run, 'Only the blue ones.', 'm-1'))).toMatchObject({ repeated: true });
  const other = await stewardErrorOf(as(ANN).sendMessage(says(run, 'All of them.', 'm-1')));
  expect(other).toMatchObject({ code: 'REQUEST_ID_REUSED', message: expect.stringContaining('as message 1') });
  expect(await as(SHOP).sendMessage(says(run, 'And hurry.', 'm-1'))).toMatchObject({ repeated: false });
  expect(await messages(run)).toEqual([
    { number: 1, sent_by: 'ann@acme', text: 'Only the blue ones.' },
    { number: 2, sent_by: 'shop@acme', text: 'And hurry.' },
  ]);
  const events = await bench.database.query(
    'select kind, data from steward.agent_run_events where run_id = $1 order by sequence',
    [run],
  );
  expect(events).toEqual([
    { kind: 'message.received', data: { message: 1, by: 'ann@acme', text: 'Only the blue ones.' } },
    { kind: 'message.received', data: { message: 2, by: 'shop@acme', text: 'And hurry.' } },
  ]);
  const audit = await bench.database.query('select action, actor, data from steward.audit_log where run_id = $1', [
    run,
  ]);
  expect(audit).toHaveLength(2);
  expect(audit[0]).toEqual({ action: 'run.message', actor: 'ann@acme', data: { message: 1, characters: 19 } });
  // It is read from the database: Temporal is told nothing.
  expect(await bench.database.query('select 1 from steward.outbox where run_id = $1', [run])).toEqual([]);
});

test('many at the same time get a number each, and no more than the run takes', async () => {
  const run = await bench.database.run(tenant);
  const sent = await Promise.allSettled(
    Array.from({ length: MOST_UNREAD + 5 }, (_, n) => as(ANN).sendMessage(says(run, `Number ${n}.`))),
  );
  expect(sent.filter((one) => one.status === 'fulfilled')).toHaveLength(MOST_UNREAD);
  expect((await messages(run)).map((row) => row.number)).toEqual(Array.from({ length: MOST_UNREAD }, (_, n) => n + 1));
  const full = await stewardErrorOf(as(ANN).sendMessage(says(run, 'One more.')));
  expect(full).toMatchObject({ code: 'LIMIT_REACHED', message: expect.stringContaining('20 messages wait unread') });
  await bench.database.query('update steward.agent_runs set messages_read = 20 where id = $1', [run]);
  expect((await as(ANN).sendMessage(says(run, 'One more.'))).repeated).toBe(false);
  const all = await bench.database.run(tenant, { messages_sent: MOST_MESSAGES, messages_read: MOST_MESSAGES });
  expect(await stewardErrorOf(as(ANN).sendMessage(says(all, 'x')))).toMatchObject({ code: 'LIMIT_REACHED' });
});

test('who started the run and who it acts for may speak to it, and nobody else', async () => {
  const run = await bench.database.run(tenant);
  const operator = await stewardErrorOf(
    as({ subject: 'olga@acme', roles: ['operator', 'admin'] }).sendMessage(says(run, 'x')),
  );
  expect(operator).toMatchObject({ code: 'ROLE_MISSING', message: expect.stringContaining('may speak to it') });
  const stranger = await stewardErrorOf(as({ subject: 'eve@acme', roles: ['user'] }).sendMessage(says(run, 'x')));
  expect(stranger.code).toBe('NOT_FOUND');
  const auditor = await stewardErrorOf(as({ subject: 'ann@acme', roles: ['auditor'] }).sendMessage(says(run, 'x')));
  expect(auditor.code).toBe('ROLE_MISSING');
  const elsewhere = await bench.database.tenant();
  expect((await stewardErrorOf(as(ANN, elsewhere).sendMessage(says(run, 'x')))).code).toBe('NOT_FOUND');
  expect(await messages(run)).toEqual([]);
});

test('a run that has closed or is being cancelled is told nothing; one that waits keeps what it is told', async () => {
  for (const [columns, why] of [
    [{ status: 'completed', closed_at: new Date() }, 'is closed: completed'],
    [{ cancel_requested_by: 'bob' }, 'is being cancelled'],
  ] as const) {
    const run = await bench.database.run(tenant, columns);
    const error = await stewardErrorOf(as(ANN).sendMessage(says(run, 'x')));
    expect(error).toMatchObject({ code: 'WRONG_STATE', message: expect.stringContaining(why) });
  }
  for (const columns of [
    { status: 'queued', admitted_at: null },
    { status: 'paused', paused_by: 'bob' },
    { status: 'budget_exceeded' },
    { status: 'awaiting_approval', open_approvals: 1 },
  ]) {
    const run = await bench.database.run(tenant, columns);
    await as(ANN).sendMessage(says(run, 'Take your time.'));
    const [row] = await bench.database.query('select * from steward.agent_runs where id = $1', [run]);
    expect(row).toMatchObject({ ...columns, messages_sent: 1, messages_read: 0 });
  }
});

test.each([
  ['no text', { text: '' }],
  ['blank text', { text: ' \n ' }],
  ['a long text', { text: 'x'.repeat(20_001) }],
  ['NUL in it', { text: 'a\0b' }],
  ['no request id', { requestId: '' }],
  ['no run', { runId: 'x' }],
])('%s is refused', async (_, more) => {
  const error = await stewardErrorOf(as(ANN).sendMessage({ ...says('r'.repeat(20), 'Hello.'), ...more }));
  expect(error.code).toBe('INVALID_REQUEST');
});
