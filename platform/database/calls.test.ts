import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { CallEnd } from '#domain/ports/run-store.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Row, type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import { SHOWN_RESULT } from './conversation.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

const done = (resultJson: string, more: Partial<CallEnd & { kind: 'done' }> = {}): CallEnd => ({
  kind: 'done',
  resultJson,
  change: null,
  undoable: false,
  repeated: false,
  ...more,
});
const told = async (run: SeededRun): Promise<Row[]> =>
  (await run.steps()).filter((step) => step.kind === 'tool_result').map((step) => step.content);

test('a judged call opens as it was judged', async () => {
  const run = await bench.run();
  const digest = await run.judge('1.0', { attempts: 2, state: 'started', timeout_ms: 7_000 });
  expect(await bench.calls.openCall(run.ref, '1.0')).toEqual({
    state: 'started',
    tool: 'edit_note',
    catalog: 'desk',
    key: `${run.ref.run}/1.0`,
    digest,
    attempts: 2,
    timeoutMs: 7_000,
    hasEffect: true,
    runGrant: run.grant,
    runClosed: false,
    cancelRequested: false,
  });
});

test('a call that does not exist, was denied, or is of another tenant or run opens for nobody', async () => {
  const [run, other] = [await bench.run(), await bench.run()];
  await run.judge('1.0');
  await run.judge('1.1', { verdict: 'deny', state: 'denied', digest: null, key: null, catalog: null });
  const codeOf = async (ref: SeededRun['ref'], call: string) =>
    (await stewardErrorOf(bench.calls.openCall(ref, call))).code;
  expect(await codeOf(run.ref, '1.2')).toBe('NOT_FOUND');
  expect(await codeOf(run.ref, '1.1')).toBe('NOT_FOUND');
  expect(await codeOf({ tenant: other.ref.tenant, run: run.ref.run }, '1.0')).toBe('NOT_FOUND');
  const sibling = await bench.run({ tenant: run.ref.tenant });
  await bench.database.query('update steward.agent_runs set run_grant = $2 where id = $1', [
    run.ref.run,
    sibling.grant,
  ]);
  expect(await codeOf(run.ref, '1.0')).toBe('GRANT_MISMATCH');
  // Nor does anything end there.
  await bench.calls.endCall({ tenant: other.ref.tenant, run: run.ref.run }, '1.0', done('{}'));
  await bench.calls.markUnknown({ tenant: other.ref.tenant, run: run.ref.run }, '1.0', 'x');
  expect(await run.call('1.0')).toMatchObject({ state: 'judged' });
});

test('of many ends at the same time the first is stored and told, and keeps', async () => {
  const run = await bench.run();
  await run.judge('1.0', { state: 'started' });
  const change = {
    summary: 'Edited',
    fields: [{ record: 'note/1', field: 'text', before: 'a', after: 'b' }],
    quantities: {},
  };
  const ends: CallEnd[] = [
    done('{"n":1}', { change, undoable: true, repeated: true }),
    { kind: 'refused', code: 'NO', message: 'no' },
    { kind: 'failed', code: 'TOMBSTONED', message: 'not done' },
    { kind: 'cancelled', code: 'CANCELLED', message: 'stopped' },
    { kind: 'denied', code: 'KILLED', message: 'killed' },
  ];
  await Promise.all([...ends, ...ends].map((end) => bench.calls.endCall(run.ref, '1.0', end)));
  const { state } = await run.call('1.0');
  expect(await told(run)).toHaveLength(1);
  expect(await run.kinds()).toHaveLength(1);
  const before = [await run.call('1.0'), await run.steps(), await run.events()];
  for (const end of ends) await bench.calls.endCall(run.ref, '1.0', end);
  await bench.calls.markUnknown(run.ref, '1.0', 'unknown after all');
  expect([await run.call('1.0'), await run.steps(), await run.events()]).toEqual(before);
  expect(ends.map((end) => end.kind)).toContain(state);
});

test.each<[CallEnd, Row, Row, Row]>([
  [
    done('{"n":1}', {
      change: { summary: 'Edited', fields: [], quantities: { emails: 1 } },
      undoable: true,
      repeated: true,
    }),
    { state: 'done', result: { n: 1 }, undoable: true, change: { summary: 'Edited', quantities: { emails: 1 } } },
    { text: '{"n":1}', isError: false },
    { kind: 'tool.done', data: { tool: 'edit_note', undoable: true, repeated: true, change: { summary: 'Edited' } } },
  ],
  [
    { kind: 'refused', code: 'NOTE_LOCKED', message: 'It is locked.' },
    { state: 'refused', error_code: 'NOTE_LOCKED', error_message: 'It is locked.' },
    { text: '{"error":{"code":"NOTE_LOCKED","message":"It is locked."}}', isError: true },
    { kind: 'tool.refused', data: { tool: 'edit_note', code: 'NOTE_LOCKED', message: 'It is locked.' } },
  ],
  [
    { kind: 'denied', code: 'KILLED', message: 'Stopped by order.' },
    { state: 'denied', error_code: 'KILLED' },
    { isError: true },
    { kind: 'tool.denied', data: { tool: 'edit_note', code: 'KILLED', reason: 'Stopped by order.' } },
  ],
  [
    { kind: 'cancelled', code: 'CANCELLED', message: 'Stopped.' },
    { state: 'cancelled', error_code: 'CANCELLED' },
    { isError: true },
    { kind: 'tool.failed', data: { tool: 'edit_note', code: 'CANCELLED', message: 'Stopped.' } },
  ],
])('%j is stored, told to the model and shown', async (end, row, block, event) => {
  const run = await bench.run();
  await run.judge('2.3', { state: 'started' });
  await bench.calls.endCall(run.ref, '2.3', end);
  expect(await run.call('2.3')).toMatchObject({ ...row, ended_at: expect.any(Date) });
  expect(await told(run)).toMatchObject([{ type: 'tool_result', callId: '2.3', providerId: 'toolu_2.3', ...block }]);
  expect(await run.events()).toMatchObject([{ turn: 2, call_id: '2.3', ...event }]);
  expect(bench.woken).toContain(run.ref.run);
});

test('an outcome that is not known is shown once, tells the model nothing, and ends like any other', async () => {
  const run = await bench.run();
  await run.judge('1.0', { state: 'started' });
  await Promise.all([1, 2, 3].map(() => bench.calls.markUnknown(run.ref, '1.0', `gone \u0000 ${'x'.repeat(900)}`)));
  expect(await run.call('1.0')).toMatchObject({ state: 'outcome_unknown', error_code: 'OUTCOME_UNKNOWN' });
  expect(await told(run)).toEqual([]);
  expect(await run.kinds()).toEqual(['tool.outcome_unknown']);
  await bench.calls.endCall(run.ref, '1.0', done('{}'));
  expect(await run.call('1.0')).toMatchObject({ state: 'done', error_code: null, error_message: null });
  expect(await run.kinds()).toEqual(['tool.outcome_unknown', 'tool.done']);
});

test('a long result is stored whole, and shown cut with a handle', async () => {
  const run = await bench.run();
  await run.judge('1.0', { state: 'started' });
  // The cut falls into an emoji.
  const text = `${'x'.repeat(SHOWN_RESULT - 2)}🙂${'y'.repeat(50_000)}`;
  await bench.calls.endCall(run.ref, '1.0', done(JSON.stringify(text)));
  expect((await run.call('1.0')).result).toBe(text);
  const [block] = await told(run);
  expect(block?.text).toBe(
    `"${'x'.repeat(SHOWN_RESULT - 2)}\n[cut: ${text.length + 2} characters in all; result://${run.ref.run}/1.0]`,
  );
});

test('what a catalog says can be stored whatever is in it, and is told in bounds', async () => {
  const run = await bench.run();
  await run.judge('1.0', { state: 'started' });
  await run.judge('1.1', { state: 'started' });
  const nasty = '\u0000\ud83d';
  await bench.calls.endCall(run.ref, '1.0', {
    kind: 'refused',
    code: `${nasty}${'C'.repeat(500)}`,
    message: `${nasty}${'m'.repeat(1_000_000)}`,
  });
  await bench.calls.endCall(
    run.ref,
    '1.1',
    done(JSON.stringify({ [nasty]: nasty }), {
      change: {
        summary: nasty,
        fields: [{ record: nasty, field: nasty, after: { [nasty]: nasty } }],
        quantities: { [nasty]: 1 },
      },
    }),
  );
  expect((await run.call('1.0')).error_message).toHaveLength(2_000);
  const [first, second] = await told(run);
  expect(first?.text.length).toBeLessThan(3_000);
  expect(JSON.parse(second?.text)).toEqual({ [nasty]: nasty });
  expect(await run.kinds()).toEqual(['tool.refused', 'tool.done']);
});
