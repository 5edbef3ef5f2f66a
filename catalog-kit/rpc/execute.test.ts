import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { importJWK, SignJWT } from 'jose';
import type { RunTester, TestCall } from '#catalog-kit/testing.ts';
import type { ActionRecord } from '#domain/action-record.ts';
import type { StewardError } from '#domain/errors.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { canonicalBytes } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { executionGrantSigner, runGrantSigner } from '#platform/identity/grants.ts';
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

const note = (id: string, folder = 'inbox') => ({ note_id: id, folder, text: 'hello' });
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'OK',
    (error) => (error as StewardError).code,
  );
const send = (actionRecord: Uint8Array, executionGrants: readonly string[]) =>
  codeOf(run.client.execute({ actionRecord, runGrant: run.runGrant, executionGrants: [...executionGrants] }));

test('20 repeats at once have one effect and get one receipt, whole', async () => {
  const call = await run.prepare('add_note', { ...note('a'), text: 'again' });
  const answers = await Promise.all(
    Array.from({ length: 20 }, async () => {
      // Each attempt has a grant of its own.
      const { outcome } = await run.execute({ ...call, executionGrants: [await run.grantFor(call.record)] });
      if (outcome.case !== 'receipt') throw new Error('no receipt');
      return outcome.value;
    }),
  );
  expect(await world.notes()).toHaveLength(1);
  expect(answers.filter((receipt) => !receipt.repeated)).toHaveLength(1);
  expect(new Set(answers.map((receipt) => receipt.resultJson))).toEqual(new Set(['{"note_id":"a"}']));
  const [receipt] = answers;
  expect(receipt).toMatchObject({ key: call.record.key, digest: call.digest, undoable: true });
  expect(receipt?.change?.summary).toBe('add note a');
  expect(receipt?.change?.quantities).toEqual({ 'rows.added': 1n });
  expect(receipt?.change?.fields).toMatchObject([
    { record: 'note/a', field: 'folder', beforeJson: '', afterJson: '"inbox"' },
    { record: 'note/a', field: 'text', beforeJson: '', afterJson: '"again"' },
  ]);
});

test('the same grant again is a repeat; under another key it is a replay', async () => {
  const first = await run.prepare('add_note', note('a'));
  await run.execute(first);
  const { outcome } = await run.execute(first);
  expect(outcome.case === 'receipt' && outcome.value.repeated).toBe(true);

  const second = await run.prepare('add_note', note('b'));
  const id = JSON.parse(Buffer.from(first.executionGrants[0]?.split('.')[1] ?? '', 'base64url').toString())
    .jti as string;
  // As a guard would that gives one id to two grants.
  const token = await new SignJWT(claimsOf(second.record))
    .setProtectedHeader({ alg: 'EdDSA', typ: 'execution-grant+jwt', kid: world.authority.guard.kid })
    .setIssuer('steward-guard')
    .setAudience('notes')
    .setSubject(second.record.run)
    .setJti(id)
    .setIssuedAt()
    .setExpirationTime('1m')
    .sign(await importJWK(world.authority.guard, 'EdDSA'));
  expect(await codeOf(run.execute({ ...second, executionGrants: [token] }))).toBe('GRANT_REPLAYED');
  expect(await world.notes()).toEqual(['a']);
  // The refused attempt left nothing: with a grant of its own the call runs.
  expect(await codeOf(run.execute(second))).toBe('OK');
});

function claimsOf(record: ActionRecord) {
  const { tenant, run: of, call, key, tool } = record;
  return { tenant, run: of, call, key, digest: digestOf(canonicalBytes(record)), tool, attempt: 1 };
}

test('nothing runs without a grant for exactly this call, here and now', async () => {
  const { guard, runApi } = world.authority;
  const call = await run.prepare('add_note', note('a'));
  const other = await run.prepare('add_note', note('b'));
  const claims = { ...claimsOf(call.record), catalog: 'notes' };
  const past = { now: () => new Date(Date.now() - 60_000) };
  const sign = async (changed: object, key = guard, clock = {}) =>
    (await executionGrantSigner(key, clock).sign({ ...claims, ...changed }, 30_000)).token;
  const cases: [string, readonly string[], string][] = [
    ['missing', [], 'GRANT_INVALID'],
    ['empty', [''], 'GRANT_INVALID'],
    ['no token', ['abc'], 'GRANT_INVALID'],
    ['too many', Array<string>(5).fill(await sign({})), 'GRANT_INVALID'],
    ["signed by run-api, the guard's name on it", [await sign({}, runApi)], 'GRANT_INVALID'],
    ['run grant in its place', [run.runGrant], 'GRANT_INVALID'],
    ['signature cut', [(await sign({})).slice(0, -4)], 'GRANT_INVALID'],
    ['expired', [await sign({}, guard, past)], 'GRANT_EXPIRED'],
    ['other catalog', [await sign({ catalog: 'projects' })], 'GRANT_MISMATCH'],
    ['other call', [...other.executionGrants], 'GRANT_MISMATCH'],
    ['other digest', [await sign({ digest: other.digest })], 'GRANT_MISMATCH'],
    ['other key', [await sign({ key: other.record.key })], 'GRANT_MISMATCH'],
    ['other tenant', [await sign({ tenant: 'globex' })], 'GRANT_MISMATCH'],
    ['other run', [await sign({ run: 'run-other' })], 'GRANT_MISMATCH'],
    ['other tool', [await sign({ tool: 'list_notes' })], 'GRANT_MISMATCH'],
    ['one good, one for another call', [await sign({}), ...other.executionGrants], 'GRANT_MISMATCH'],
  ];
  for (const [what, executionGrants, code] of cases) {
    expect([what, await codeOf(run.execute({ ...call, executionGrants }))]).toEqual([what, code]);
  }
  // Reading needs leave as well.
  const read = await run.prepare('list_notes', {});
  expect(await codeOf(run.execute({ ...read, executionGrants: [] }))).toBe('GRANT_INVALID');
  expect(await world.notes()).toEqual([]);
});

test('only the exact bytes that were approved run', async () => {
  const call = await run.prepare('add_note', note('a'));
  const text = Buffer.from(call.actionRecord).toString();
  const edits: [string, string, string][] = [
    ['other arguments', text.replace('"hello"', '"HELLO"'), 'GRANT_MISMATCH'],
    ['not canonical: a blank', text.replace('":', '": '), 'ARGUMENTS_INVALID'],
    ['not canonical: order', `{"v":1,${text.slice(1).replace(',"v":1', '')}`, 'ARGUMENTS_INVALID'],
    ['not canonical: escape', text.replace('hello', '\\u0068ello'), 'ARGUMENTS_INVALID'],
    ['unknown member', text.replace('"v":1', '"v":1,"w":1'), 'ARGUMENTS_INVALID'],
    ['other version', text.replace('"v":1', '"v":2'), 'ARGUMENTS_INVALID'],
    ['other user', text.replace('ada@', 'bob@'), 'GRANT_MISMATCH'],
    ['other tenant', text.replace('"acme"', '"globex"'), 'TENANT_MISMATCH'],
    ['other catalog', text.replace('"catalog":"notes"', '"catalog":"projects"'), 'GRANT_MISMATCH'],
    ['undo', text.replace('"kind":"execute"', '"kind":"undo"'), 'ARGUMENTS_INVALID'],
    ['foreign key', text.replace(/"key":"[^"]*"/, '"key":"run-x/1.1"'), 'ARGUMENTS_INVALID'],
    ['cut', text.slice(0, -1), 'ARGUMENTS_INVALID'],
    ['nothing', '', 'ARGUMENTS_INVALID'],
  ];
  for (const [what, edited, code] of edits) {
    const answer = send(Buffer.from(edited), call.executionGrants);
    expect([what, await answer]).toEqual([what, code]);
  }
  expect(await send(Buffer.alloc(2_000_000), [])).toBe('TOO_LARGE');
  expect(await world.notes()).toEqual([]);
});

test('tool and arguments must be what the agent pinned', async () => {
  const calls: [string, TestCall, string][] = [
    ['unknown tool', await run.prepare('drop_notes', {}), 'TOOL_UNKNOWN'],
    ['changed tool', await run.prepare('add_note', note('a'), { toolHash: 'f'.repeat(64) }), 'TOOL_CHANGED'],
    ['unknown field', await run.prepare('add_note', { ...note('a'), color: 'red' }), 'ARGUMENTS_INVALID'],
    ['missing field', await run.prepare('add_note', { note_id: 'a' }), 'ARGUMENTS_INVALID'],
    ['wrong type', await run.prepare('add_note', { ...note('a'), text: 1 }), 'ARGUMENTS_INVALID'],
    ['too long', await run.prepare('add_note', { ...note('a'), text: 'x'.repeat(201) }), 'ARGUMENTS_INVALID'],
  ];
  for (const [what, call, code] of calls) expect([what, await codeOf(run.execute(call))]).toEqual([what, code]);
  await expect(run.execute(calls[2]?.[1] as TestCall)).rejects.toThrow(/color/);
  const narrow = await catalog.run({ ...ADA, tools: ['list_notes'] });
  expect(await codeOf(narrow.execute(await narrow.prepare('add_note', note('a'))))).toBe('NOT_PERMITTED');
});

test('the run grant must be run-api’s, and the token a worker’s', async () => {
  const { guard, runApi, token } = world.authority;
  const call = await run.prepare('add_note', note('a'));
  const forged = await runGrantSigner(guard).sign(run.grant);
  const past = { now: () => new Date(Date.now() - 3_600_000) };
  const expired = await runGrantSigner(runApi, past).sign(run.grant, 60_000);
  for (const [runGrant, code] of [
    ['', 'GRANT_INVALID'],
    [forged, 'GRANT_INVALID'],
    [expired, 'GRANT_EXPIRED'],
  ] as const) {
    expect(await codeOf(run.execute({ ...call, runGrant }))).toBe(code);
  }
  const stranger = await catalog.run({ ...ADA, tenant: 'globex' });
  expect(await codeOf(run.execute({ ...call, runGrant: stranger.runGrant }))).toBe('TENANT_MISMATCH');
  const sibling = await catalog.run(ADA);
  expect(await codeOf(run.execute({ ...call, runGrant: sibling.runGrant }))).toBe('GRANT_MISMATCH');

  const describe = async (bearer?: string) => {
    const options = { address: catalog.address, ...(bearer === undefined ? {} : { token: () => bearer }) };
    const { client, close } = connect(ToolCatalog, options);
    return await codeOf(client.describeTools({})).finally(close);
  };
  const roles: [string, string][] = [
    [await token(['service']), 'ROLE_MISSING'],
    [await token(['worker'], -60), 'TOKEN_EXPIRED'],
    [await token(['worker'], 60, 'elsewhere'), 'TOKEN_WRONG_AUDIENCE'],
    [run.runGrant, 'TOKEN_INVALID'],
  ];
  for (const [bearer, code] of roles) {
    expect(await describe(bearer)).toBe(code);
  }
  expect(await describe()).toBe('TOKEN_MISSING');
});

test('a refusal changes nothing and may be followed by the same call', async () => {
  await run.call('add_note', note('a'));
  const call = await run.prepare('add_note', note('a'));
  const { outcome } = await run.execute(call);
  expect(outcome).toMatchObject({ case: 'refusal', value: { code: 'NOTE_EXISTS' } });
  expect((await run.resolve(call, true)).case).toBe('nothing');
  await world.database.query('delete from notes.notes');
  expect((await run.execute(call)).outcome.case).toBe('receipt');
});

test('acts as the user: permissions and the narrowing of the run hold', async () => {
  const reader = await catalog.run({ ...ADA, permissions: ['notes:read'] });
  expect(await reader.refusal('add_note', note('a'))).toBe('NOT_PERMITTED');
  expect((await reader.call('list_notes', {})).result).toEqual({ notes: [] });
  // note/… is named by the arguments, folder/… only by the tool itself.
  const narrow = await catalog.run({ ...ADA, resources: ['note/a', 'folder/inbox'] });
  expect(await narrow.refusal('add_note', note('b'))).toBe('RESOURCE_DENIED');
  expect(await narrow.refusal('add_note', note('a', 'outbox'))).toBe('RESOURCE_DENIED');
  await narrow.call('add_note', note('a'));
  expect(await world.notes()).toEqual(['a']);
});

test('a tenant sees its own rows and keys only', async () => {
  await run.call('add_note', note('a'));
  const globex = await catalog.run({ ...ADA, tenant: 'globex', run: run.grant.run });
  expect((await globex.call('list_notes', {})).result).toEqual({ notes: [] });
  const theirs = await globex.prepare('add_note', note('a'), { call: '1.1' });
  expect((await globex.execute(theirs)).outcome.case).toBe('receipt');
  expect((await run.call('list_notes', {})).result).toEqual({ notes: ['a'] });
});

test('a key is good for one action record', async () => {
  const call = await run.prepare('add_note', note('a'));
  await run.execute(call);
  const edited = await run.prepare('add_note', note('b'), { call: call.record.call });
  expect(await codeOf(run.execute(edited))).toBe('KEY_REUSED');
  expect(await world.notes()).toEqual(['a']);
});

test('what cannot be sent, and what breaks its word, is rolled back', async () => {
  expect(await run.refusal('add_note_large', note('a'))).toBe('RESULT_TOO_LARGE');
  expect(await codeOf(run.call('add_note_wrong', note('b')))).toBe('CATALOG_BROKEN');
  expect(await world.notes()).toEqual([]);
  await run.call('add_note', note('c'));
  const long = 'n'.repeat(40);
  await run.call('add_note', note(long));
  expect(await run.refusal('list_notes', { times: 100_000 })).toBe('RESULT_TOO_LARGE');
});

test('a read cannot write', async () => {
  expect(await codeOf(run.call('write_in_read', {}))).toBe('INTERNAL');
  expect(await world.notes()).toEqual([]);
});

test('what nobody waits for any more is not committed: past its deadline', async () => {
  const late = await run.prepare('add_note_late', note('a'));
  expect(await codeOf(run.execute(late, 300))).toBe('DEADLINE');
  const hold = await holdNotes(world.database);
  const held = await run.prepare('add_note_held', note('b'));
  expect(await codeOf(run.execute(held, 300))).toBe('DEADLINE');
  // Resolve waits for what is still under way.
  expect((await run.resolve(late)).case).toBe('tombstone');
  expect((await run.resolve(held)).case).toBe('tombstone');
  await hold.release();
  expect(await world.notes()).toEqual([]);
});

test('what nobody waits for any more is not committed: cancelled, while a statement runs', async () => {
  const hold = await holdNotes(world.database);
  const call = await run.prepare('add_note_held', note('a'));
  const cancel = new AbortController();
  const { actionRecord, runGrant, executionGrants } = call;
  const request = { actionRecord, runGrant, executionGrants: [...executionGrants] };
  const answer = codeOf(run.client.execute(request, { signal: cancel.signal, deadlineMs: 50_000 }));
  await untilBlocked(world.database, 1);
  cancel.abort();
  expect(await answer).toBe('CANCELLED');
  // Long before the deadline, although what the tool waits for is still held.
  expect((await run.resolve(call)).case).toBe('tombstone');
  await hold.release();
  expect(await world.notes()).toEqual([]);
});

test('an effect that would spend more than was looked at is rolled back and refused', async () => {
  const call = await run.prepare('add_note', note('dear'));
  const within = async (most: Record<string, number>) => {
    const executionGrants = [await run.grantFor(call.record, undefined, most)];
    return (await run.execute({ ...call, executionGrants })).outcome;
  };
  expect(await within({ 'rows.added': 0 })).toMatchObject({ case: 'refusal', value: { code: 'QUANTITY_EXCEEDED' } });
  // What was not looked at at all may not be spent either.
  expect(await within({ 'rows.deleted': 5 })).toMatchObject({ case: 'refusal', value: { code: 'QUANTITY_EXCEEDED' } });
  expect(await world.notes()).toEqual([]);
  expect(await within({ 'rows.added': 1 })).toMatchObject({ case: 'receipt' });
  expect(await world.notes()).toHaveLength(1);
});
