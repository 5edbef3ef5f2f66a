import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { RunTester } from '#catalog-kit/testing.ts';
import type { StewardError } from '#domain/errors.ts';
import { ADA, notesWorld } from '#test/support/notes/catalog.ts';

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

test('takes an effect back, once', async () => {
  const { record } = await run.call('add_note', note('a'));
  const undone = await Promise.all([run.undo(record), run.undo(record), run.undo(record)]);
  expect(undone.map((outcome) => outcome.case)).toEqual(['receipt', 'receipt', 'receipt']);
  expect(undone.filter((outcome) => outcome.case === 'receipt' && !outcome.value.repeated)).toHaveLength(1);
  const [outcome] = undone;
  expect(outcome?.case === 'receipt' && outcome.value).toMatchObject({
    key: `${record.key}/undo`,
    undoable: false,
    change: { summary: 'remove note a', fields: [{ field: 'folder', beforeJson: '"inbox"', afterJson: '' }, {}] },
  });
  expect(await world.notes()).toEqual([]);
  // Added anew by someone else, it is not taken away by a repeat.
  await run.call('add_note', note('a'));
  expect((await run.undo(record)).case).toBe('receipt');
  expect(await world.notes()).toEqual(['a']);
});

test('refuses where the record has changed since', async () => {
  const { record } = await run.call('add_note', note('a'));
  await world.database.query(`update notes.notes set text = 'mine'`);
  expect(await run.undo(record)).toMatchObject({ case: 'refusal', value: { code: 'CHANGED_SINCE' } });
  await world.database.query(`update notes.notes set text = 'hello'`);
  expect((await run.undo(record)).case).toBe('receipt');
});

test('there must be something to undo, and leave to do it', async () => {
  const never = await run.prepare('add_note', note('a'));
  expect(await codeOf(run.undo(never.record))).toBe('WRONG_STATE');
  await run.resolve(never);
  expect(await codeOf(run.undo(never.record))).toBe('WRONG_STATE');
  const read = await run.call('list_notes', {});
  expect(await codeOf(run.undo(read.record))).toBe('WRONG_STATE');
  const letter = await run.call('post_note', { text: 'hi' });
  expect(await codeOf(run.undo(letter.record))).toBe('WRONG_STATE');

  const { record } = await run.call('add_note', note('a'));
  const undo = await run.prepareUndo(record);
  const { actionRecord, runGrant } = undo;
  const send = (executionGrants: readonly string[]) =>
    codeOf(run.client.undo({ actionRecord, runGrant, executionGrants: [...executionGrants] }));
  expect(await send([])).toBe('GRANT_INVALID');
  // The leave to do it is no leave to undo it.
  expect(await send([await run.grantFor(record)])).toBe('GRANT_MISMATCH');
  expect(await codeOf(run.execute(undo))).toBe('ARGUMENTS_INVALID');
  const mixed = await run.prepareUndo({ ...record, tool: 'add_note_held' });
  expect(await codeOf(run.client.undo({ ...request(mixed) }))).toBe('WRONG_STATE');
  const sibling = await catalog.run(ADA);
  expect(await codeOf(sibling.undo({ ...record, run: sibling.grant.run }))).toBe('WRONG_STATE');
  const reader = await catalog.run({ ...ADA, run: run.grant.run, permissions: ['notes:read'] });
  expect(await reader.undo(record)).toMatchObject({ case: 'refusal', value: { code: 'NOT_PERMITTED' } });
  expect(await world.notes()).toEqual(['a']);
  expect(await send(undo.executionGrants)).toBe('OK');
});

const request = (call: Awaited<ReturnType<RunTester['prepareUndo']>>) => ({
  actionRecord: call.actionRecord,
  runGrant: call.runGrant,
  executionGrants: [...call.executionGrants],
});

test('an undo that was settled as never taking place does not', async () => {
  const { record } = await run.call('add_note', note('a'));
  const undo = await run.prepareUndo(record);
  expect((await run.resolve(undo)).case).toBe('tombstone');
  expect(await codeOf(run.client.undo(request(undo)))).toBe('TOMBSTONED');
  expect(await world.notes()).toEqual(['a']);
});
