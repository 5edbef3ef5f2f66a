import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { EventData, EventKind } from '#domain/events.ts';
import { type CliOptions, type CliResult, runCli } from '#test/support/cli.ts';
import { HELPER, type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;
let tenant: string;

beforeAll(async () => {
  bench = await runApiBench();
  tenant = await bench.tenant();
}, 120_000);

afterAll(async () => {
  await bench.stop();
}, 120_000);

async function steward(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const token = await bench.issuer.token({ tenant, subject: 'ann@acme', roles: ['operator', 'admin'] }, 600);
  // Many processes at once on a small machine: slowness is not what is tested.
  return await runCli([...args, '--timeout', '60s'], {
    timeoutMs: 90_000,
    ...options,
    env: { STEWARD_ADDRESS: bench.address, STEWARD_TOKEN: token },
  });
}

/** An event as the worker's transactions write it. */
async function write<K extends EventKind>(run: string, kind: K, data: EventData[K], turn = 0): Promise<void> {
  await bench.database.query(
    `with numbered as (update steward.agent_runs set event_seq = event_seq + 1 where id = $1 returning event_seq)
     insert into steward.agent_run_events (tenant, run_id, sequence, kind, turn, data)
     select $2, $1, event_seq, $3, $4, $5 from numbered`,
    [run, tenant, kind, turn, JSON.stringify(data)],
  );
}

async function close(run: string, status: 'completed' | 'failed'): Promise<void> {
  await bench.database.query(
    "update steward.agent_runs set status = $2, closed_at = now(), outcome = 'Well.' where id = $1",
    [run, status],
  );
  await write(run, 'run.closed', { status, reason: null, message: '', cost: 0, outcome: 'Well.' });
}

async function start(...more: readonly string[]): Promise<string> {
  const { stdout } = await steward(['run', 'start', '--agent', 'helper', 'Help me.', '--json', ...more]);
  return (JSON.parse(stdout) as { run: { id: string } }).run.id;
}

test('a run starts once per request id, narrowed as asked', async () => {
  const args = ['run', 'start', '--agent', 'helper', '--request-id', 'r-1', '--label', 'order=o-1'];
  const narrow = ['--tool', 'look', '--tool', 'note', '--budget', '0.20', '--resource', 'order/o-1'];
  const first = await steward([...args, ...narrow, '--input', 'Help me.', '--json']);
  expect(first.code).toBe(0);
  const { run } = JSON.parse(first.stdout) as { run: { id: string } };
  expect(run).toMatchObject({
    agent: 'helper',
    actingUser: 'ann@acme',
    input: 'Help me.',
    labels: { order: 'o-1' },
    cost: { budgetMicroUsd: '200000' },
  });
  const [again, other] = await Promise.all([
    steward([...args, ...narrow, '--input-file', '-'], { stdin: 'Help me.' }),
    steward([...args, 'Something else.']),
  ]);
  expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining('r-1 had started this run before.') });
  expect(again.stdout).toContain(`${run.id} started: helper for ann@acme, budget $0.2000`);
  expect(again.stdout).toContain(`steward run watch ${run.id}`);
  expect(other).toMatchObject({ code: 6, stderr: expect.stringContaining('another --request-id') });
}, 120_000);

test('an agent that is not there ends with 3, one that may not be narrowed so with its reason', async () => {
  const [unknown, wider] = await Promise.all([
    steward(['run', 'start', '--agent', 'nobody', 'x']),
    steward(['run', 'start', '--agent', 'helper', '--tool', 'launch', 'x']),
  ]);
  expect(unknown).toMatchObject({ code: 3, stderr: expect.stringContaining('steward agent list') });
  expect(wider.code).toBeGreaterThan(0);
  expect(wider.stderr).toContain('launch');
}, 120_000);

test('runs are listed by what they are, and shown one by one', async () => {
  const id = await start('--label', 'kind=listed');
  const [list, none] = await Promise.all([
    steward(['run', 'list', '--label', 'kind=listed', '--since', '1h', '--user', 'ann@acme']),
    steward(['run', 'list', '--label', 'kind=listed', '--status', 'failed,completed']),
  ]);
  const [get, steps, document] = await Promise.all([
    steward(['run', 'get', id]),
    steward(['run', 'steps', id]),
    steward(['run', 'list', '--label', 'kind=listed', '--json']),
  ]);
  expect(list.stdout.split('\n')).toEqual([expect.stringMatching(/^RUN +STATUS/), expect.stringContaining(id), '']);
  expect(none).toMatchObject({ code: 0, stdout: 'No such runs.\n' });
  expect(get.stdout).toContain(`Run ${id}`);
  expect(get.stdout).toMatch(/Who approved it\n {2}nothing was changed/);
  expect(steps.stdout).toMatch(/^ {3}1 .*user_message .*Help me\./);
  expect(JSON.parse(document.stdout)).toMatchObject({ runs: [{ id }], nextPageToken: '' });
  expect(await steward(['run', 'get', 'r-nothing'])).toMatchObject({ code: 3, stdout: '' });
}, 120_000);

test('watching shows every event and the four answers, and ends as the run ends', async () => {
  const id = await start();
  const answered = { model: 'offline-1', cost: 3_100, spent: 3_100, text: 'Looking.', calls: [] };
  const watching = steward(['run', 'watch', id]);
  await write(id, 'run.started', { model: 'offline-1' });
  await write(id, 'turn.answered', answered, 1);
  await close(id, 'completed');
  const done = await watching;
  expect(done.code).toBe(0);
  expect(done.stdout).toMatch(/● created[\s\S]*● started[\s\S]*◆ model {2}Looking\. \(\+\$0\.0031\)[\s\S]*■ completed/);
  expect(done.stdout).toMatch(/completed after [\s\S]*│ Well\.[\s\S]*Who approved it[\s\S]*What it cost/);
  const lines = await steward(['run', 'watch', id, '--after', '2', '--json']);
  const items = lines.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(items).toEqual([
    { event: expect.objectContaining({ sequence: '3', kind: 'turn.answered', data: answered }) },
    { event: expect.objectContaining({ sequence: '4', kind: 'run.closed' }) },
    { run: expect.objectContaining({ id, status: 'RUN_STATUS_COMPLETED' }), effects: [] },
  ]);
}, 120_000);

test('a run that was not completed ends the watching with 1', async () => {
  const id = await start();
  await close(id, 'failed');
  expect(await steward(['run', 'watch', id])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('The run ended as failed.'),
  });
}, 120_000);

test('an interrupt ends the watching, not the run, and says how to go on', async () => {
  const id = await start();
  const result = await steward(['run', 'watch', id], {
    onOutput: (stdout, kill) => {
      if (stdout.includes('● created')) kill('SIGINT');
    },
  });
  expect(result.code).toBe(130);
  expect(result.stderr).toContain(`the run goes on. To go on from here: steward run watch ${id} --after 1`);
}, 120_000);

test('a run is cancelled and its budget raised', async () => {
  const id = await start();
  const raised = await steward(['run', 'raise-budget', id, '0.25', '--reason', 'more to do']);
  expect(raised).toMatchObject({ code: 0, stdout: expect.stringContaining('raised by $0.2500 to $0.7500') });
  const cancelled = await steward(['run', 'cancel', id, '--reason', 'not needed', '--json']);
  expect(cancelled.code).toBe(0);
  expect(JSON.parse(cancelled.stdout)).toMatchObject({ run: { id, stopReason: expect.stringContaining('ann@acme') } });
}, 120_000);

test('a run is told something, and another goes on from it once it has ended', async () => {
  const id = await start();
  const told = await steward(['run', 'send', id, '-', '--request-id', 'm-1'], { stdin: 'Only the blue ones.' });
  expect(told).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('was told; it reads it before its next turn'),
  });
  const again = await steward(['run', 'send', id, 'Only the blue ones.', '--request-id', 'm-1', '--json']);
  expect(again.code).toBe(0);
  expect(JSON.parse(again.stdout)).toMatchObject({ run: { id }, repeated: true });
  const [nothing, open] = await Promise.all([
    steward(['run', 'send', id]),
    steward(['run', 'start', '--agent', 'helper', 'Go on.', '--continues', id]),
  ]);
  expect(nothing).toMatchObject({ code: 2, stderr: expect.stringContaining('Say it once') });
  expect(open.stderr).toContain('Send it a message instead');
  await close(id, 'completed');
  const { run } = JSON.parse(
    (await steward(['run', 'start', '--agent', 'helper', 'Go on.', '--continues', id, '--json'])).stdout,
  ) as { run: { id: string; continues: string } };
  expect(run.continues).toBe(id);
  const late = await steward(['run', 'send', id, 'Too late.']);
  expect(late).toMatchObject({ code: expect.any(Number), stderr: expect.stringContaining('is closed: completed') });
}, 120_000);

test('agents are applied from files, and faults are told for each', async () => {
  const [applied, mixed, list, get] = await Promise.all([
    steward(['agent', 'apply', '-'], { stdin: HELPER }),
    steward(['agent', 'apply', '-', 'missing.yaml', '--json'], { stdin: 'name: 7\n' }),
    steward(['agent', 'list']),
    steward(['agent', 'get', 'helper', '--yaml']),
  ]);
  expect(applied).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^helper@[0-9a-f]{12} {2}was current already/),
  });
  expect(mixed.code).toBe(2);
  expect(
    mixed.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).error.code),
  ).toEqual(['AGENT_INVALID', 'INVALID_REQUEST']);
  expect(JSON.parse(mixed.stdout)).toEqual({ results: [] });
  expect(list.stdout).toMatch(/^AGENT[\s\S]*helper {2}/);
  expect(get.stdout).toBe(HELPER);
}, 120_000);

test('runs are found by words and exported with their steps', async () => {
  const id = await start('--label', 'kind=exported');
  const [found, none, all] = await Promise.all([
    steward(['run', 'list', '--text', 'help ME', '--label', 'kind=exported', '--json']),
    steward(['run', 'list', '--text', 'no-such-word']),
    steward(['run', 'export', '--from', '1h', '--steps', '--costs']),
  ]);
  expect(JSON.parse(found.stdout)).toMatchObject({ runs: [{ id }] });
  expect(none.stdout).toBe('No such runs.\n');
  expect(all.code).toBe(0);
  const lines = all.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; run?: { id: string }; step?: { runId: string } });
  expect(lines.some(({ run }) => run?.id === id)).toBe(true);
  expect(lines.some(({ step }) => step?.runId === id)).toBe(true);
  expect(await steward(['run', 'export', '--from', '300d'])).toMatchObject({ code: 2, stdout: '' });
}, 120_000);
