import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Undo, UndoState } from '#gen/steward/run/v1/run_service_pb.ts';
import { runCli } from '../support/cli.ts';
import { stewardErrorOf } from '../support/errors.ts';
import { BEN, DESK, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** Undoing what a run has done, from the request to the records as they were. */

let s: TestStack;
let agent: string;

beforeAll(async () => {
  s = await testStack();
  agent = await s.applyAgent();
}, 120_000);

afterAll(() => s?.stop(), 60_000);

interface Call {
  readonly tool: string;
  readonly args: object;
}
const create = (title: string): Call => ({ tool: 'create_task', args: { project_id: 'apollo', title } });
const update = (task_id: string, status: string): Call => ({ tool: 'update_task_status', args: { task_id, status } });
const remove = (task_id: string): Call => ({ tool: 'delete_task', args: { task_id } });
const mail = (): Call => ({
  tool: 'send_email',
  args: { to: ['dana@northwind.example'], subject: 'Done', body: 'It is done.' },
});

/** Plays a run to its end, approving what it asks. */
async function played(...turns: Call[][]): Promise<string> {
  const run = await s.start(agent, `params: ${JSON.stringify({ turns, final: 'Done.' })}`);
  let answered = 0;
  await s.until(run.id, (event) => {
    if (event.kind === 'approval.asked') void s.decide(run.id, 'approve').then(() => (answered += 1));
    return event.kind === 'run.closed';
  });
  expect(answered).toBe(turns.flat().filter(({ tool }) => tool === 'delete_task' || tool === 'send_email').length);
  return run.id;
}

async function newTask(): Promise<string> {
  const [row] = await s.query<{ id: string }>(
    `insert into projects.tasks (tenant, id, project_id, title, status, assignee, labels, notes)
     values ('acme', $1, 'apollo', 'A task', 'open', 'ben@acme.example', '{a,b}', 'Notes.') returning id`,
    [`t-${randomUUID().slice(0, 8)}`],
  );
  return row?.id ?? '';
}

const task = async (id: string) => {
  const columns = 'title, status, assignee, labels, notes, deleted_at';
  return (await s.query(`select ${columns} from projects.tasks where id = $1`, [id]))[0];
};
const tasksOf = async (run: string) =>
  (
    await s.query<{ id: string }>('select task_id as id from projects.task_activity where key like $1 order by id', [
      `${run}/%`,
    ])
  ).map((row) => row.id);

const undoRun = (runId: string, more: object = {}, who = OLGA) =>
  s.as(who).runs.undoRun({ runId, requestId: randomUUID(), ...more });

/** Waits until no step is pending. */
async function over(undoId: string, ms = 30_000): Promise<Undo> {
  const deadline = Date.now() + ms;
  for (;;) {
    const { undo } = await s.as(OLGA).runs.getUndo({ undoId });
    if (undo?.steps.every((step) => step.state !== UndoState.PENDING)) return undo;
    if (Date.now() > deadline) throw new Error(`Undo ${undoId} is not over: ${JSON.stringify(undo?.steps)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const undone = async (runId: string, more: object = {}): Promise<Undo> => {
  const { undo } = await undoRun(runId, more);
  return over(undo?.id ?? '');
};

test('what was created, updated and deleted is as it was before, undone in reverse; what cannot be is said', async () => {
  const [updated, deleted] = [await newTask(), await newTask()];
  const before = [await task(updated), await task(deleted)];
  const run = await played(
    [create('made by a run')],
    [update(updated, 'in_review'), mail()],
    [update(updated, 'done')],
    [remove(deleted)],
  );
  const [created = ''] = await tasksOf(run);
  expect([await task(updated), (await task(deleted))?.deleted_at]).toEqual([
    { ...before[0], status: 'done' },
    expect.any(Date),
  ]);

  const undo = await undone(run, { reason: 'not wanted' });
  expect(undo).toMatchObject({ runId: run, requestedBy: OLGA.subject, reason: 'not wanted' });
  expect(undo.steps.map((step) => [step.callId, step.state, step.code]).filter(([id]) => id !== '2.1')).toEqual([
    ['4.0', UndoState.UNDONE, ''],
    ['3.0', UndoState.UNDONE, ''],
    ['2.0', UndoState.UNDONE, ''],
    ['1.0', UndoState.UNDONE, ''],
  ]);
  expect(undo.steps.find((step) => step.callId === '2.1')).toMatchObject({
    tool: 'send_email',
    state: UndoState.CANNOT,
    message: 'send_email cannot be undone.',
  });
  expect([await task(updated), await task(deleted)]).toEqual(before);
  expect((await task(created))?.deleted_at).toBeInstanceOf(Date);
  expect(undo.steps.find((step) => step.callId === '3.0')?.change?.fields).toMatchObject([
    { record: `task/${updated}`, field: 'status', beforeJson: '"done"', afterJson: '"in_review"' },
  ]);

  const { run: view, effects } = await s.as(OLGA).runs.getRun({ runId: run });
  expect(view?.outcome).toBe('Done.');
  expect(effects.filter((effect) => effect.undoState === UndoState.UNDONE)).toHaveLength(4);
  expect(new Set(effects.map((effect) => effect.undoneBy))).toEqual(new Set([OLGA.subject]));
  const events = await s.query<{ kind: string }>(
    `select kind from steward.agent_run_events where run_id = $1 and sequence >=
       (select sequence from steward.agent_run_events where run_id = $1 and kind = 'run.closed') order by sequence`,
    [run],
  );
  expect(events.map((event) => event.kind)).toEqual(['run.closed', 'undo.requested', ...Array(4).fill('undo.done')]);
  const audit = await s.query(
    `select actor, action, call_id from steward.audit_log where run_id = $1 and action like '%undo%' order by id`,
    [run],
  );
  expect(audit.map((row) => `${row.actor} ${row.action} ${row.call_id}`)).toEqual([
    `${OLGA.subject} run.undo null`,
    ...['4.0', '3.0', '2.0', '1.0'].flatMap((call) => [
      `${DESK.onBehalfOf} undo.authorized ${call}`,
      `${OLGA.subject} undo.undone ${call}`,
    ]),
  ]);
  const handle = s.temporal.client.workflow.getHandle(`undo/${undo.id}`);
  await handle.result();
  expect((await handle.describe()).status.name).toBe('COMPLETED');

  // Asked for again, it is undone already, and nothing is touched.
  const activity = await s.query('select count(*) from projects.task_activity');
  const again = (await undoRun(run)).undo;
  expect(again?.steps.map((step) => step.state).toSorted()).toEqual([
    ...Array(4).fill(UndoState.UNDONE),
    UndoState.CANNOT,
  ]);
  expect(again?.steps[0]?.message).toBe(`was undone before, for ${OLGA.subject}`);
  expect(await s.query('select count(*) from projects.task_activity')).toEqual(activity);
}, 90_000);

test('a record that has changed since is left alone while the others are undone, and may be asked for later', async () => {
  const [first, second] = [await newTask(), await newTask()];
  const run = await played([update(first, 'done')], [update(second, 'done')]);
  await s.query(`update projects.tasks set status = 'in_progress' where id = $1`, [second]);
  const undo = await undone(run);
  expect(undo.steps.map((step) => [step.callId, step.state, step.code])).toEqual([
    ['2.0', UndoState.REFUSED, 'CHANGED_SINCE'],
    ['1.0', UndoState.UNDONE, ''],
  ]);
  expect([(await task(first))?.status, (await task(second))?.status]).toEqual(['open', 'in_progress']);
  const { effects } = await s.as(OLGA).runs.getRun({ runId: run });
  expect(effects.map((effect) => effect.undoState)).toEqual([UndoState.UNDONE, UndoState.REFUSED]);
  // Put right by hand, it can be undone after all.
  await s.query(`update projects.tasks set status = 'done' where id = $1`, [second]);
  expect((await undone(run, { callIds: ['2.0'] })).steps).toMatchObject([{ callId: '2.0', state: UndoState.UNDONE }]);
  expect((await task(second))?.status).toBe('open');
}, 60_000);

test('a repeated request id is one undo, and two requests at once undo each effect once', async () => {
  const id = await newTask();
  const run = await played([create('once'), update(id, 'done')]);
  const requestId = randomUUID();
  const asked = { requestId, callIds: ['1.1'], reason: 'r' };
  const answers = await Promise.all(Array.from({ length: 4 }, () => undoRun(run, asked)));
  expect(new Set(answers.map((answer) => answer.undo?.id)).size).toBe(1);
  expect(answers.filter((answer) => !answer.repeated)).toHaveLength(1);
  const other = { requestId, callIds: ['1.0'], reason: 'r' };
  expect((await stewardErrorOf(undoRun(run, other))).code).toBe('REQUEST_ID_REUSED');
  const both = await Promise.all([undone(run), undone(run)]);
  for (const undo of both) expect(undo.steps.every((step) => step.state === UndoState.UNDONE)).toBe(true);
  await over(answers[0]?.undo?.id ?? '');
  const [{ count } = { count: '' }] = await s.query<{ count: string }>(
    `select count(*) from projects.task_activity where key like $1`,
    [`${run}/%/undo`],
  );
  expect(count).toBe('2');
  expect((await task(id))?.status).toBe('open');
}, 60_000);

test('open runs, calls without effect, other people and other tenants are refused', async () => {
  const id = await newTask();
  const open = await s.start(agent, `params: ${JSON.stringify({ turns: [[update(id, 'done')], [remove(id)]] })}`);
  await s.until(open.id, (event) => event.kind === 'approval.asked');
  expect(await stewardErrorOf(undoRun(open.id))).toMatchObject({ code: 'WRONG_STATE' });
  await s.decide(open.id, 'deny');
  await s.closed(open.id);
  expect(await stewardErrorOf(undoRun(open.id, { callIds: ['2.0'] }))).toMatchObject({ code: 'NOT_FOUND' });
  for (const who of [BEN, DESK]) {
    expect((await stewardErrorOf(undoRun(open.id, {}, who))).code).toBe('ROLE_MISSING');
  }
  const foreign = { ...OLGA, tenant: 'globex' };
  expect((await stewardErrorOf(undoRun(open.id, {}, foreign))).code).toBe('NOT_FOUND');
  expect((await stewardErrorOf(undoRun(open.id, { requestId: '' }))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(undoRun(open.id, { callIds: ['x'] }))).code).toBe('INVALID_REQUEST');
  const undo = await undone(open.id);
  expect(undo.steps.map((step) => step.callId)).toEqual(['1.0']);
  expect((await stewardErrorOf(s.as(foreign).runs.getUndo({ undoId: undo.id }))).code).toBe('NOT_FOUND');
  expect((await s.as(BEN).runs.getUndo({ undoId: undo.id })).undo?.id).toBe(undo.id);
}, 60_000);

test('a catalog that is down is waited for, and the effect is undone once', async () => {
  const id = await newTask();
  const run = await played([update(id, 'done')]);
  const projects = s.stack.service('projects');
  process.kill(projects.pid, 'SIGKILL');
  await projects.exited;
  const { undo } = await undoRun(run);
  await s.stack.restart('projects');
  expect((await over(undo?.id ?? '', 45_000)).steps).toMatchObject([{ state: UndoState.UNDONE }]);
  expect((await task(id))?.status).toBe('open');
}, 90_000);

test('on the command line: the summary names the command, which shows, undoes and waits', async () => {
  const id = await newTask();
  const run = await played([create('by hand')], [update(id, 'done')], [mail()]);
  const env = { STEWARD_ADDRESS: s.stack.environment.runApi, STEWARD_TOKEN: await s.token(OLGA) };
  const steward = (...args: string[]) => runCli(['--timeout', '30s', ...args], { env, timeoutMs: 60_000 });
  const summary = await steward('run', 'get', run);
  const command = ['run', 'undo', run];
  expect(summary.stdout).toContain(`steward ${command.join(' ')}\n`);
  // Nobody can be asked here.
  expect(await steward(...command)).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
  expect((await task(id))?.status).toBe('done');
  const undone = await steward(...command, '--yes', '--reason', 'a test');
  expect(undone).toMatchObject({ code: 0 });
  const lines = undone.stdout.split('\n').filter((line) => !line.startsWith(' '));
  expect(lines.map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual([
    '✗ 3.0 send_email',
    '↶ 2.0 update_task_status',
    '↶ 1.0 create_task',
    '✗ 3.0 send_email',
    '✓ 2.0 update_task_status',
    '✓ 1.0 create_task',
    '',
  ]);
  expect(undone.stdout).toMatch(/- status: "done"\n +\+ status: "open"/);
  expect((await task(id))?.status).toBe('open');
  const again = await steward(...command, '--yes', '--json');
  expect(again.code).toBe(0);
  expect(JSON.parse(again.stdout)).toMatchObject({ undo: { steps: expect.any(Array) } });
  expect((await steward('run', 'get', run)).stdout).toContain(`✓ 2.0 update_task_status  undone for ${OLGA.subject}`);
  expect(await steward('run', 'undo', run, '--call', '9.0', '--yes')).toMatchObject({ code: 3 });
}, 120_000);

test('after an incident: what was touched, and evidence that shows whether it was changed', async () => {
  const id = await newTask();
  const run = await played([create('by mistake')], [update(id, 'done')], [mail()]);
  const folder = await mkdtemp(join(tmpdir(), 'steward-incident-'));
  const env = { STEWARD_ADDRESS: s.stack.environment.runApi, STEWARD_TOKEN: await s.token(OLGA) };
  const steward = (...args: string[]) => runCli(['--timeout', '30s', ...args], { env, timeoutMs: 60_000 });
  try {
    const touched = await steward('incident', 'blast-radius', '--from', '1h', '--run', run);
    expect(touched).toMatchObject({ code: 0 });
    expect(touched.stdout).toContain(`task/${id}`);
    expect(touched.stdout).toMatch(/messaging\/send_email +outside +1 +0 +0 +1/);
    expect(touched.stdout).toMatch(/projects\/update_task_status +its catalog +1 +1 +0 +0/);

    const file = join(folder, 'evidence.jsonl');
    expect(await steward('incident', 'snapshot', run, '--out', file)).toMatchObject({ code: 0 });
    const keys = s.stack.secrets.runGrants.jwksPath;
    const verified = await steward('incident', 'verify', file, '--keys', keys);
    expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining(`Unchanged: run ${run}`) });
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('by mistake', 'on purpose'));
    const changed = await steward('incident', 'verify', file, '--keys', keys);
    expect(changed).toMatchObject({ code: 1, stdout: expect.stringContaining('CHANGED') });
    await writeFile(file, text.slice(0, text.length / 2));
    expect(await steward('incident', 'verify', file, '--keys', keys)).toMatchObject({ code: 2 });
  } finally {
    await rm(folder, { recursive: true });
  }
}, 60_000);
