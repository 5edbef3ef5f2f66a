import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { migrateCatalog } from '#catalog-kit/migrate.ts';
import { type CatalogTester, type RunTester, testAuthority } from '#catalog-kit/testing.ts';
import type { JsonObject } from '#domain/json.ts';
import { catalogEnv } from '#test/support/catalog-env.ts';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { DEMO_PEOPLE } from './demo-data.ts';
import { seedProjects } from './seed.ts';
import { startProjects } from './service.ts';

const { ada, ben, olga } = DEMO_PEOPLE;
const PERMISSIONS = ['projects:read', 'projects:write'];

let database: TestDatabase;
let authority: Awaited<ReturnType<typeof testAuthority>>;
let env: Awaited<ReturnType<typeof catalogEnv>>;
let catalog: Awaited<ReturnType<typeof startProjects>>;
let tester: CatalogTester;
let run: RunTester;

beforeAll(async () => {
  database = await testDatabase();
  const directory = join(import.meta.dirname, 'migrations');
  await migrateCatalog({ url: database.url, schema: 'projects', directory });
  authority = await testAuthority();
  env = await catalogEnv(authority.identity, await database.urlAs('steward_projects'));
  catalog = await startProjects(env.env);
  tester = await authority.connect(catalog.address);
});
afterAll(async () => {
  tester?.close();
  await catalog?.stop();
  await env?.remove();
  await database?.drop();
});
beforeEach(async () => {
  await seedProjects(database.url, { tenant: 'acme', reset: true });
  run = await tester.run({ tenant: 'acme', user: ada, permissions: PERMISSIONS });
});

interface Page {
  readonly tasks: readonly { readonly id: string }[];
  readonly next_page_token: string | null;
}
const listTasks = async (args: JsonObject): Promise<Page> =>
  (await run.call('list_tasks_in_project', { project_id: 'apollo', ...args })).result as unknown as Page;
const idsOf = (page: Page): string[] => page.tasks.map((task) => task.id);
const rows = () => database.query(`select to_jsonb(t) - 'version' as task from projects.tasks t order by id`);

test('a user sees the projects they are a member of, and their client', async () => {
  const { result } = await run.call('list_projects', {});
  expect(result).toEqual({
    projects: [
      {
        id: 'apollo',
        name: 'Apollo',
        status: 'active',
        client_name: 'Northwind Traders',
        client_email: 'dana@northwind.example',
      },
      expect.objectContaining({ id: 'gemini' }),
    ],
  });
  const narrow = await tester.run({
    tenant: 'acme',
    user: ada,
    permissions: PERMISSIONS,
    resources: ['project/gemini'],
  });
  expect((await narrow.call('list_projects', {})).result).toMatchObject({ projects: [{ id: 'gemini' }] });
});

test('tasks come in pages, filtered', async () => {
  const first = await listTasks({ page_size: 4 });
  const second = await listTasks({ page_size: 4, page_token: first.next_page_token });
  const third = await listTasks({ page_size: 4, page_token: second.next_page_token });
  expect([first, second, third].map((page) => page.tasks.length)).toEqual([4, 4, 2]);
  expect(third.next_page_token).toBeNull();
  expect(new Set([first, second, third].flatMap(idsOf)).size).toBe(10);
  expect(idsOf(await listTasks({ status: 'in_review', label: 'merged' }))).toEqual(['apl-101', 'apl-102', 'apl-103']);
  expect(idsOf(await listTasks({ assignee: olga }))).toEqual(['apl-104', 'apl-108']);
  expect(await listTasks({ status: 'open', label: 'merged' })).toEqual({ tasks: [], next_page_token: null });
  for (const page_token of ['x', '', 'YWZ0ZXI6YQ==']) {
    expect(await run.refusal('list_tasks_in_project', { project_id: 'apollo', page_token })).toBe('PAGE_TOKEN_INVALID');
  }
});

test('a task has the fields that agents are told of', async () => {
  expect((await run.call('get_task', { task_id: 'apl-105' })).result).toEqual({
    task: {
      id: 'apl-105',
      project_id: 'apollo',
      title: 'CSV export of invoices',
      status: 'open',
      assignee: null,
      labels: ['release-2.4', 'reported'],
      notes: 'This is a duplicate of apl-101.',
    },
  });
});

test('acts as the user: no member, no permission, no narrowing away', async () => {
  const writes: [string, JsonObject][] = [
    ['update_task_status', { task_id: 'mer-301', status: 'done' }],
    ['assign_task', { task_id: 'mer-301', assignee: null }],
    ['delete_task', { task_id: 'mer-301' }],
    ['create_task', { project_id: 'mercury', title: 'x' }],
  ];
  for (const [tool, args] of [...writes, ['get_task', { task_id: 'mer-301' }] as const]) {
    expect([tool, await run.refusal(tool, args)]).toEqual([tool, 'NOT_A_MEMBER']);
  }
  expect(await run.refusal('list_tasks_in_project', { project_id: 'mercury' })).toBe('NOT_A_MEMBER');
  await expect(run.preview('delete_task', { task_id: 'mer-301' })).rejects.toMatchObject({
    code: 'NOT_PERMITTED',
    details: { refusal: 'NOT_A_MEMBER' },
  });
  const reader = await tester.run({ tenant: 'acme', user: olga, permissions: ['projects:read'] });
  for (const [tool, args] of writes) expect(await reader.refusal(tool, args)).toBe('NOT_PERMITTED');
  const narrow = await tester.run({
    tenant: 'acme',
    user: olga,
    permissions: PERMISSIONS,
    resources: ['project/apollo'],
  });
  for (const [tool, args] of writes) expect(await narrow.refusal(tool, args)).toBe('RESOURCE_DENIED');
  const stranger = await tester.run({ tenant: 'globex', user: olga, permissions: PERMISSIONS });
  expect(await stranger.refusal('delete_task', { task_id: 'mer-301' })).toBe('TASK_NOT_FOUND');
  expect((await stranger.call('list_projects', {})).result).toEqual({ projects: [] });
});

test('says what is not there', async () => {
  expect(await run.refusal('get_task', { task_id: 'apl-999' })).toBe('TASK_NOT_FOUND');
  expect(await run.refusal('list_tasks_in_project', { project_id: 'pluto' })).toBe('PROJECT_NOT_FOUND');
  expect(await run.refusal('assign_task', { task_id: 'gem-201', assignee: ben })).toBe('ASSIGNEE_NOT_A_MEMBER');
  const args = { project_id: 'gemini', title: 'x', assignee: ben };
  expect(await run.refusal('create_task', args)).toBe('ASSIGNEE_NOT_A_MEMBER');
});

test.each<[string, JsonObject, string]>([
  ['update_task_status', { task_id: 'apl-101', status: 'done' }, `"in_review"`],
  ['assign_task', { task_id: 'apl-101', assignee: null }, `"${ben}"`],
  ['assign_task', { task_id: 'apl-105', assignee: ben }, 'null'],
  ['delete_task', { task_id: 'apl-105' }, '"apollo"'],
  ['create_task', { project_id: 'apollo', title: 'New', assignee: ben, labels: ['a'], notes: 'n' }, ''],
])('%s %j: what it changed is shown, and undo restores exactly', async (tool, args, firstBefore) => {
  const before = await rows();
  const call = await run.prepare(tool, args);
  const { outcome } = await run.execute(call);
  if (outcome.case !== 'receipt') throw new Error(JSON.stringify(outcome));
  expect(outcome.value.undoable).toBe(true);
  expect(outcome.value.change?.fields[0]?.beforeJson).toBe(firstBefore);
  expect(await rows()).not.toEqual(before);
  const undone = await run.undo(call.record);
  expect(undone.case).toBe('receipt');
  const after = await rows();
  // A created task that was removed again keeps its row, out of sight.
  const alive = after.filter((row) => row.task.deleted_at === null);
  expect(alive).toEqual(before);
  const activity = await database.query('select action, key from projects.task_activity order by id');
  expect(activity.map((row) => row.key)).toEqual([call.record.key, `${call.record.key}/undo`]);
});

test('undo refuses what has changed since, and leaves other fields alone', async () => {
  const other = await tester.run({ tenant: 'acme', user: olga, permissions: PERMISSIONS });
  const status = await run.call('update_task_status', { task_id: 'apl-101', status: 'done' });
  await other.call('assign_task', { task_id: 'apl-101', assignee: olga });
  expect((await run.undo(status.record)).case).toBe('receipt');
  expect((await run.call('get_task', { task_id: 'apl-101' })).result).toMatchObject({
    task: { status: 'in_review', assignee: olga },
  });
  const again = await run.call('update_task_status', { task_id: 'apl-101', status: 'done' });
  await other.call('update_task_status', { task_id: 'apl-101', status: 'open' });
  expect(await run.undo(again.record)).toMatchObject({ case: 'refusal', value: { code: 'CHANGED_SINCE' } });

  const gone = await run.call('delete_task', { task_id: 'apl-106' });
  expect(await run.refusal('get_task', { task_id: 'apl-106' })).toBe('TASK_NOT_FOUND');
  expect((await run.undo(gone.record)).case).toBe('receipt');
  const created = await run.call('create_task', { project_id: 'apollo', title: 'New' });
  const { id } = created.result.task as { id: string };
  await other.call('update_task_status', { task_id: id, status: 'in_progress' });
  expect(await run.undo(created.record)).toMatchObject({ case: 'refusal', value: { code: 'CHANGED_SINCE' } });
});

test('previews show what would happen', async () => {
  expect(await run.preview('delete_task', { task_id: 'apl-105' })).toMatchObject({
    summary: 'delete task "CSV export of invoices" (apl-105)',
    quantities: { 'rows.deleted': 1n },
    fields: expect.arrayContaining([
      expect.objectContaining({ record: 'task/apl-105', field: 'status', beforeJson: '"open"', afterJson: '' }),
    ]),
  });
  expect(await run.preview('update_task_status', { task_id: 'apl-101', status: 'done' })).toMatchObject({
    fields: [{ field: 'status', beforeJson: '"in_review"', afterJson: '"done"' }],
  });
});

test('the same status again changes nothing, and so does its undo', async () => {
  const { record, result } = await run.call('update_task_status', { task_id: 'apl-110', status: 'done' });
  expect(result).toMatchObject({ task: { status: 'done' } });
  expect((await run.undo(record)).case).toBe('receipt');
  expect((await run.call('get_task', { task_id: 'apl-110' })).result).toMatchObject({ task: { status: 'done' } });
});

test('seeding again adds nothing; a reset brings back the demo and leaves the rest', async () => {
  const before = await rows();
  const own = await run.call('create_task', { project_id: 'gemini', title: 'Mine' });
  await run.call('delete_task', { task_id: 'apl-105' });
  await Promise.all([1, 2, 3].map(() => seedProjects(database.url, { tenant: 'acme' })));
  expect(await run.refusal('get_task', { task_id: 'apl-105' })).toBe('TASK_NOT_FOUND');
  await seedProjects(database.url, { tenant: 'globex' });
  await seedProjects(database.url, { tenant: 'acme', reset: true });
  const after = await rows();
  expect(after.filter((row) => row.task.tenant === 'acme').map((row) => row.task.id)).toEqual(
    before.filter((row) => row.task.tenant === 'acme').map((row) => row.task.id),
  );
  expect(after.filter((row) => row.task.tenant === 'globex')).toHaveLength(14);
  // What is gone cannot be undone any more.
  expect(await run.undo(own.record)).toMatchObject({ case: 'refusal' });
  await database.query(`delete from projects.projects where tenant = 'globex'`);
});

test('its process says when it serves, and stops when told to', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { ...env.env, PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) {
    const { address } = JSON.parse(line.replace(/^STEWARD_READY /, '')) as { address: string };
    const other = await authority.connect(address);
    expect(other.hashes.size).toBe(7);
    other.close();
    child.kill('SIGTERM');
  }
  expect(await exited).toEqual([0, null]);
});

test('its process says which variables are missing', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit');
  const said: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  expect(await exited).toEqual([1, null]);
  expect(said.join('')).toMatch(/DATABASE_URL is missing[\s\S]*STEWARD_EXECUTION_GRANT_JWKS is missing/);
});
