import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { StewardError } from '#domain/errors.ts';
import { DescribeToolsResponseSchema, EffectClass, Risk } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { connect } from '#platform/database/connect.ts';
import { forgetfulReceipts } from '#test/support/forgetful-receipts.ts';
import { ADA, holdNotes, notesWorld, SILENT, untilBlocked } from '#test/support/notes/catalog.ts';
import { type NotesTables, notesTools } from '#test/support/notes/tools.ts';
import { testDatabase } from '#test/support/postgres.ts';
import { catalogHash, descriptorHash } from './descriptor.ts';
import { serveCatalog } from './serve.ts';
import type { Tool } from './tool.ts';

let world: Awaited<ReturnType<typeof notesWorld>>;
let catalog: Awaited<ReturnType<typeof world.serve>>;

beforeAll(async () => {
  world = await notesWorld();
  catalog = await world.serve();
});
afterAll(async () => {
  await catalog?.stop();
  await world?.database.drop();
});

const note = (id: string) => ({ note_id: id, folder: 'inbox', text: 'hello' });
const tools = notesTools({ act: async () => undefined });

async function serveOn(url: string, own: readonly Tool[] = tools, name = 'notes'): Promise<unknown> {
  const { db, close } = connect<NotesTables>(url, { schema: 'notes' });
  const { identity } = world.authority;
  try {
    const server = await serveCatalog({ name, tools: own, db, listen: '127.0.0.1:0', identity, log: SILENT });
    await server.stop(0);
    return undefined;
  } finally {
    await close();
  }
}

test('describes its tools with hashes that anyone can compute', async () => {
  const response = await catalog.client.describeTools({});
  expect(response.catalog).toBe('notes');
  expect(response.tools).toHaveLength(tools.length);
  // As another process reads it from the wire.
  const read = fromBinary(DescribeToolsResponseSchema, toBinary(DescribeToolsResponseSchema, response));
  for (const tool of read.tools) expect(descriptorHash(tool)).toBe(tool.hash);
  expect(read.catalogHash).toBe(catalogHash(read.tools.map((tool) => tool.hash)));
  const post = read.tools.find((tool) => tool.name === 'post_note');
  expect(post).toMatchObject({
    risk: Risk.IRREVERSIBLE,
    effectClass: EffectClass.KEYED,
    hasPreview: true,
    hasCheck: true,
    hasUndo: false,
    quantities: ['letters'],
    timeout: { seconds: 10n, nanos: 0 },
  });
});

test('a preview shows the change and makes none', async () => {
  const run = await catalog.run(ADA);
  expect(await run.preview('add_note', note('p'))).toMatchObject({
    summary: 'add note p',
    fields: [{ record: 'note/p', field: 'folder', beforeJson: '', afterJson: '"inbox"' }, {}],
    quantities: { 'rows.added': 1n },
  });
  expect(await run.preview('add_note_held', note('p'))).toBeUndefined();
  expect(await world.notes()).toEqual([]);
  const stranger = await catalog.run({ ...ADA, permissions: [] });
  const narrow = await catalog.run({ ...ADA, resources: ['note/q'] });
  const codes: [() => Promise<unknown>, string, string | undefined][] = [
    [() => run.preview('post_note', { text: 'nonsense' }), 'TOOL_REFUSED', 'NONSENSE'],
    [() => run.preview('post_note', { words: 'hi' }), 'ARGUMENTS_INVALID', undefined],
    [() => run.preview('gone', {}), 'TOOL_UNKNOWN', undefined],
    [() => stranger.preview('add_note', note('p')), 'NOT_PERMITTED', 'NOT_PERMITTED'],
    [() => narrow.preview('add_note', note('p')), 'RESOURCE_DENIED', 'RESOURCE_DENIED'],
  ];
  for (const [preview, code, refusal] of codes) {
    const error = await preview().then(
      () => undefined,
      (thrown) => thrown as StewardError,
    );
    expect(error?.code).toBe(code);
    expect(error?.details.refusal).toBe(refusal);
  }
});

test('does not start on a database that would let it down', async () => {
  await expect(serveOn(world.database.url)).rejects.toThrow(/postgres is not held back by row-level security/);
  const empty = await testDatabase();
  await expect(serveOn(await empty.urlAs('steward_notes'))).rejects.toThrow(/Run its migrations first/);
  await empty.drop();
  await expect(serveOn('postgres://steward_notes@127.0.0.1:1/notes')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(serveOn(world.url, tools, 'My Notes')).rejects.toThrow(/its name must be/);
  await expect(serveOn(world.url, [])).rejects.toThrow(/0 tools/);
  await expect(serveOn(world.url, [...tools, ...tools])).rejects.toThrow(/same name/);
  const wordy = Array.from({ length: 200 }, (_, index) => ({
    ...(tools[0] as Tool),
    name: `tool_${index}`,
    description: 'ü'.repeat(4_000),
  }));
  await expect(serveOn(world.url, wordy)).rejects.toThrow(/at most 1000000 can be sent/);
});

test('what is settled can neither be changed nor removed by the catalog itself', async () => {
  const run = await catalog.run(ADA);
  const { record } = await run.call('add_note', note('kept'));
  const buried = await run.prepare('add_note', note('never'));
  await run.resolve(buried);
  const client = new pg.Client({ connectionString: world.url, options: '-c search_path=notes' });
  await client.connect();
  await client.query(`select set_config('app.tenant', 'acme', false)`);
  const seen = await client.query('select key from receipts order by created_at');
  expect(seen.rows.map((row) => row.key)).toEqual([record.key, buried.record.key]);
  expect((await client.query(`update receipts set result = '{}'`)).rowCount).toBe(0);
  expect((await client.query('delete from receipts')).rowCount).toBe(0);
  await expect(client.query('delete from grants_used')).rejects.toThrow('permission denied');
  await expect(client.query(`update receipts set digest = 'x'`)).rejects.toThrow('permission denied');
  await client.query(`select set_config('app.tenant', 'globex', false)`);
  expect((await client.query('select key from receipts')).rowCount).toBe(0);
  await client.query(`select set_config('app.tenant', '', false)`);
  expect((await client.query('select key from receipts')).rowCount).toBe(0);
  await client.end();
});

test('a connection lost in the middle of an effect leaves nothing half done', async () => {
  const run = await catalog.run(ADA);
  const hold = await holdNotes(world.database);
  const call = await run.prepare('add_note_held', note('cut'));
  const executed = run.execute(call);
  await untilBlocked(world.database, 1);
  await world.database.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'steward_notes' and datname = current_database()`,
  );
  await expect(executed).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await hold.release();
  expect((await run.resolve(call, true)).case).toBe('nothing');
  expect((await run.execute(call)).outcome.case).toBe('receipt');
});

test('receipts that remember nothing show as duplicates', async () => {
  const sabotaged = await world.serve({ receipts: forgetfulReceipts() });
  const run = await sabotaged.run(ADA);
  const call = await run.prepare('add_note', { ...note('twice'), text: 'again' });
  for (let attempt = 0; attempt < 3; attempt += 1) await run.execute(call);
  expect((await world.notes()).filter((id) => id.startsWith('twice'))).toHaveLength(3);
  await sabotaged.stop();
});

test('hooks are told between commit and answer', async () => {
  const seen: string[] = [];
  const watched = await world.serve({
    hooks: { afterCommit: ({ tool, key, kind }) => void seen.push(`${kind} ${tool} ${key}`) },
  });
  const run = await watched.run(ADA);
  const { record } = await run.call('add_note', note('watched'));
  await run.undo(record);
  await run.call('post_note', { text: 'hi' });
  const { run: id } = record;
  expect(seen).toEqual([`execute add_note ${id}/1.1`, `undo add_note ${id}/1.1/undo`, `execute post_note ${id}/1.3`]);
  await watched.stop();
});
