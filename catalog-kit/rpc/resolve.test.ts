import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { RunTester } from '#catalog-kit/testing.ts';
import type { StewardError } from '#domain/errors.ts';
import { ADA, holdNotes, notesWorld, untilBlocked } from '#test/support/notes/catalog.ts';

let world: Awaited<ReturnType<typeof notesWorld>>;
let catalog: Awaited<ReturnType<typeof world.serve>>;
let run: RunTester;

beforeAll(async () => {
  world = await notesWorld();
  catalog = await world.serve();
  run = await catalog.run(ADA);
});
afterAll(async () => {
  await catalog?.stop();
  await world?.database.drop();
});
afterEach(async () => {
  await world.database.query('delete from notes.notes');
});

const note = (id: string) => ({ note_id: id, folder: 'inbox', text: 'hello' });
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'OK',
    (error) => (error as StewardError).code,
  );

test('a settled key never takes effect', async () => {
  const call = await run.prepare('add_note', note('a'));
  expect(await run.resolve(call)).toMatchObject({ case: 'tombstone', value: { key: call.record.key } });
  expect((await run.resolve(call)).case).toBe('tombstone');
  expect(await codeOf(run.execute(call))).toBe('TOMBSTONED');
  expect((await run.resolve(call, true)).case).toBe('tombstone');
  expect(await world.notes()).toEqual([]);
});

test('a settled read does not run either', async () => {
  const call = await run.prepare('list_notes', {});
  expect((await run.execute(call)).outcome.case).toBe('receipt');
  await run.resolve(call);
  expect(await codeOf(run.execute(call))).toBe('TOMBSTONED');
});

test('what took place is told, with its receipt', async () => {
  const call = await run.prepare('add_note', note('a'));
  await run.execute(call);
  for (const lookOnly of [false, true]) {
    const state = await run.resolve(call, lookOnly);
    if (state.case !== 'receipt') throw new Error(`${state.case} instead of a receipt`);
    expect(state.value).toMatchObject({ resultJson: '{"note_id":"a"}', undoable: true, repeated: true });
    expect(state.value.change?.summary).toBe('add note a');
  }
});

test('looking leaves nothing behind', async () => {
  const call = await run.prepare('add_note', note('a'));
  expect(await run.resolve(call, true)).toMatchObject({ case: 'nothing', value: { key: call.record.key } });
  expect((await run.execute(call)).outcome.case).toBe('receipt');
});

test('Resolve while Execute is under way waits for its commit and gives the receipt', async () => {
  const hold = await holdNotes(world.database);
  const call = await run.prepare('add_note_held', note('a'));
  const executed = run.execute(call);
  await untilBlocked(world.database, 1);
  const resolved = run.resolve(call);
  await untilBlocked(world.database, 2);
  await hold.release();
  expect((await resolved).case).toBe('receipt');
  expect((await executed).outcome.case).toBe('receipt');
  expect(await world.notes()).toEqual(['a']);
});

test('Execute while a tombstone is being written waits for it and does nothing', async () => {
  const call = await run.prepare('add_note', note('a'));
  const settling = new pg.Client({ connectionString: world.database.url });
  await settling.connect();
  await settling.query('begin');
  await settling.query(`insert into notes.receipts (tenant, key, digest, state) values ('acme', $1, $2, 'tombstone')`, [
    call.record.key,
    call.digest,
  ]);
  const executed = codeOf(run.execute(call));
  await untilBlocked(world.database, 1);
  await settling.query('commit');
  await settling.end();
  expect(await executed).toBe('TOMBSTONED');
  expect(await world.notes()).toEqual([]);
});

test('Execute after a tombstone was given up runs', async () => {
  const call = await run.prepare('add_note', note('a'));
  const settling = new pg.Client({ connectionString: world.database.url });
  await settling.connect();
  await settling.query('begin');
  await settling.query(`insert into notes.receipts (tenant, key, digest, state) values ('acme', $1, $2, 'tombstone')`, [
    call.record.key,
    call.digest,
  ]);
  const executed = run.execute(call);
  await untilBlocked(world.database, 1);
  await settling.query('rollback');
  await settling.end();
  expect((await executed).outcome.case).toBe('receipt');
});

test('waits no longer than its caller', async () => {
  const hold = await holdNotes(world.database);
  const call = await run.prepare('add_note_held', note('a'));
  const executed = run.execute(call);
  await untilBlocked(world.database, 1);
  const { key } = call.record;
  const request = { key, digest: call.digest, runGrant: run.runGrant };
  expect(['DEADLINE', 'UNAVAILABLE']).toContain(await codeOf(run.client.resolve(request, { deadlineMs: 300 })));
  await hold.release();
  expect((await executed).outcome.case).toBe('receipt');
});

test('a run settles its own keys, under their own digests', async () => {
  const call = await run.prepare('add_note', note('a'));
  await run.execute(call);
  const other = { ...call, digest: '1'.repeat(64) };
  expect(await codeOf(run.resolve(other))).toBe('KEY_REUSED');
  expect(await codeOf(run.resolve(other, true))).toBe('KEY_REUSED');
  expect(await codeOf(run.resolve({ ...call, digest: 'ABC' }))).toBe('INVALID_REQUEST');

  const sibling = await catalog.run(ADA);
  expect(await codeOf(sibling.resolve(call))).toBe('GRANT_MISMATCH');
  for (const key of ['', run.grant.run, `${run.grant.run}/`, `${run.grant.run}/x`, `${run.grant.run}/1.1/undo/undo`]) {
    const request = { key, digest: call.digest, runGrant: run.runGrant };
    expect(await codeOf(run.client.resolve(request))).toBe('GRANT_MISMATCH');
  }
  // A run of the same name in another tenant neither sees nor settles it.
  const globex = await catalog.run({ ...ADA, tenant: 'globex', run: run.grant.run });
  expect((await globex.resolve(call, true)).case).toBe('nothing');
  expect((await globex.resolve(call)).case).toBe('tombstone');
  expect((await run.resolve(call)).case).toBe('receipt');
});
