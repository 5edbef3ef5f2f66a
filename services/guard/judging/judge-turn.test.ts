import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { VerdictKind } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { type Bench, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

const LIMITS = { modelCalls: 20, toolCalls: 50, toolCallsPerTurn: 10, tokens: 1_000_000, activeMs: 3_600_000 };
const limits = (narrower: Partial<typeof LIMITS>) => ({ limits: JSON.stringify({ ...LIMITS, ...narrower }) });
const read = { tool: 'read_note', args: { note_id: 'n1' } };

test.each([
  ['no JSON', { tool: 'read_note', malformed: '{"note_id": ' }, /no JSON/],
  ['no object', { tool: 'read_note', json: '[1]' }, /an array/],
  ['a missing field', { tool: 'read_note', args: {} }, /"?note_id"? is missing/],
  ['an unknown field', { tool: 'read_note', args: { note_id: 'n', force: true } }, /no field force/],
  ['a wrong type', { tool: 'write_note', args: { note_id: 'n', text: 'x', stars: 2.5 } }, /\/stars: must be integer/],
  [
    'an integer without faith',
    { tool: 'write_note', json: '{"note_id":"n","text":"x","stars":9007199254740993}' },
    /2\^53/,
  ],
  ['NUL', { tool: 'read_note', args: { note_id: 'a\u0000b' } }, /NUL/],
])('arguments that are %s come back as faults the model can act on', async (_name, call, fault) => {
  const run = await bench.run();
  const { calls } = await run.judge([call]);
  expect(calls[0]).toMatchObject({ verdict: VerdictKind.DENY, code: 'ARGUMENTS_INVALID' });
  const [step] = await run.rows('steps');
  const { error } = JSON.parse(step?.content.text);
  expect(error.code).toBe('ARGUMENTS_INVALID');
  expect(error.faults.join(' ')).toMatch(fault);
  expect(await run.row()).toMatchObject({ tool_calls: 0, status: 'running' });
});

test('names and texts from a model never break the tables', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([
    { tool: `rm\u0000 -rf ${'x'.repeat(5_000)}`, args: {} },
    { tool: 'read_note', malformed: '\u0000\u0007 {' },
    { tool: 'read_note', json: '{"a\\u0000\\ud800":9007199254740993}' },
  ]);
  expect(calls.map((call) => call.code)).toEqual(['TOOL_UNKNOWN', 'ARGUMENTS_INVALID', 'ARGUMENTS_INVALID']);
  expect(await run.rows('steps')).toHaveLength(3);
});

test("a tool outside of the run's list is unknown, by the row and by the grant", async () => {
  const byRow = await bench.run({ tools: ['read_note'] });
  const byGrant = await bench.run({ grant: { tools: { desk: ['read_note'] } } });
  for (const run of [byRow, byGrant]) {
    const { calls } = await run.judge([read, { tool: 'write_note', args: { note_id: 'n', text: '' } }]);
    expect(calls.map((call) => call.code)).toEqual(['', 'TOOL_UNKNOWN']);
    expect(calls[1]?.reason).toContain('It has: read_note.');
  }
});

test('calls past the cap of a turn, and past the limit of the run, are answered as errors', async () => {
  const run = await bench.run({ columns: { ...limits({ toolCallsPerTurn: 3, toolCalls: 4 }), tool_calls: 2 } });
  const { calls } = await run.judge([read, { tool: 'nothing' }, read, read]);
  expect(calls.map((call) => call.code)).toEqual(['', 'TOOL_UNKNOWN', '', 'TOO_MANY_CALLS']);
  const next = await run.judge([read, { tool: 'delete_note', args: { note_id: 'n' } }], 2);
  expect(next.calls.map((call) => call.code)).toEqual(['LIMIT_REACHED', 'LIMIT_REACHED']);
  expect(await run.row()).toMatchObject({ tool_calls: 4, open_approvals: 0 });
  const events = await run.rows('events');
  expect(events.filter((row) => row.kind === 'limit.warning').map((row) => row.data)).toEqual([
    { limit: 'tool_calls', used: 4, of: 4 },
  ]);
});

test('a denied call uses nothing of the limit; an admitted one leaves less to those after it', async () => {
  const run = await bench.run({ columns: limits({ toolCalls: 1 }) });
  const { calls } = await run.judge([{ tool: 'read_note', args: {} }, read, read]);
  expect(calls.map((call) => call.code)).toEqual(['ARGUMENTS_INVALID', '', 'LIMIT_REACHED']);
});

test('a run that was narrowed to resources may touch no others of their kind', async () => {
  const write = (folder: string) => ({ tool: 'write_note', args: { note_id: 'n', folder, text: '' } });
  const byRow = await bench.run({ columns: { resources: ['folder/inbox'] } });
  const byGrant = await bench.run({ grant: { resources: ['folder/inbox'] } });
  for (const run of [byRow, byGrant]) {
    const { calls } = await run.judge([write('inbox'), write('secrets'), read]);
    expect(calls.map((call) => call.code)).toEqual(['', 'RESOURCE_DENIED', '']);
  }
});

test('a call its catalog already refuses is denied, and nobody is asked', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([
    { tool: 'delete_note', args: { note_id: 'missing-1' } },
    { tool: 'delete_note', args: { note_id: 'secret-1' } },
  ]);
  expect(calls.map((call) => call.code)).toEqual(['TOOL_REFUSED', 'NOT_PERMITTED']);
  expect(calls[0]?.reason).toBe('There is no note missing-1.');
  expect(await run.rows('approvals')).toEqual([]);
  const [step] = await run.rows('steps');
  expect(JSON.parse(step?.content.text).error).toMatchObject({ code: 'TOOL_REFUSED', refusal: 'NOTE_NOT_FOUND' });
  expect(await run.row()).toMatchObject({ status: 'running', open_approvals: 0, tool_calls: 0 });
});

test('a preview that is too long is shown in part, and says so', async () => {
  const run = await bench.run();
  await run.ask({ note_id: 'long-1' });
  const [approval] = await run.rows('approvals');
  expect(approval?.preview.fields).toHaveLength(1);
  expect(approval?.preview_error).toBe('The preview is too long: it shows 1 of 2 changed fields.');
});

test('where no preview can be had, a person is asked all the same, and told so', async () => {
  const run = await bench.run();
  await run.ask({ note_id: 'broken-1' });
  const [approval] = await run.rows('approvals');
  expect(approval).toMatchObject({ preview: null, preview_error: expect.stringContaining('Catalog desk') });
  expect(approval?.preview_error).not.toContain('cheese');
  expect(parseActionRecord(approval?.action_record).previewHash).toBeNull();
});

test('a tool whose hash is no longer the pinned one is denied', async () => {
  const changed = await bench.run({ pins: (pins) => pins.map((pin) => ({ ...pin, hash: 'f'.repeat(64) })) });
  const { calls } = await changed.judge([read]);
  expect(calls[0]).toMatchObject({ verdict: VerdictKind.DENY, code: 'TOOL_CHANGED' });
  const gone = await bench.run({
    pins: (pins) => [...pins, { ...(pins[0] as (typeof pins)[0]), name: 'old_tool' }],
  });
  expect((await gone.judge([{ tool: 'old_tool', args: { note_id: 'n' } }])).calls[0]?.code).toBe('TOOL_CHANGED');
});
