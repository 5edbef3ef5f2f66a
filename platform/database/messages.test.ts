import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Message } from '#domain/conversation.ts';
import { answer, proposed, type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import { lockRemainders } from './accounts.ts';
import { withMessages } from './messages.ts';
import { withTenant } from './tenant.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

/** A message as run-api takes it. */
async function say(run: SeededRun, text: string): Promise<void> {
  await bench.database.query(
    `with run as (update steward.agent_runs set messages_sent = messages_sent + 1 where id = $1 returning messages_sent)
     insert into steward.agent_run_messages (tenant, run_id, number, sent_by, request_id, text)
     select $2, $1, messages_sent, 'ann@acme', messages_sent::text, $3 from run`,
    [run.ref.run, run.ref.tenant, text],
  );
}

async function conversation(run: SeededRun, turn: number): Promise<readonly Message[]> {
  const { opened } = await run.open(turn);
  if (opened.kind !== 'reserved') throw new Error(`it was ${opened.kind}`);
  return opened.request.messages;
}

const texts = (messages: readonly Message[]) =>
  messages.map((message) => message.content.map((block) => ('text' in block ? block.text : block.type)));

const COMPLETED = { status: 'completed', reason: null, message: '' } as const;

test('what was said is read at the next turn, after the results of the last one, and stays where it was read', async () => {
  const run = await bench.run();
  const { id } = await run.open(1);
  await bench.turns.storeAnswer(run.ref, 1, id, answer([proposed('1.0')]), 0);
  await run.judge('1.0');
  await say(run, 'Only the blue ones.');
  await bench.calls.endCall(run.ref, '1.0', {
    kind: 'done',
    resultJson: '{"n":1}',
    change: null,
    undoable: false,
    repeated: false,
  });
  await say(run, 'And hurry.');
  const second = await run.open(2);
  expect(second.opened).toMatchObject({ kind: 'reserved' });
  const read = second.opened.kind === 'reserved' ? second.opened.request.messages : [];
  expect(texts(read)).toEqual([['Do it.'], ['tool_call'], ['{"n":1}', 'Only the blue ones.', 'And hurry.']]);
  expect((await run.events()).at(-1)).toMatchObject({ kind: 'turn.started', data: { messages: [1, 2] } });
  await bench.turns.storeAnswer(run.ref, 2, second.id, answer([proposed('2.0')]), 0);
  await run.judge('2.0');
  await bench.calls.endCall(run.ref, '2.0', { kind: 'denied', code: 'X', message: 'no' });
  const third = await conversation(run, 3);
  expect(texts(third).slice(0, 3)).toEqual(texts(read));
  expect(third).toHaveLength(5);
  expect((await run.steps()).filter((step) => step.kind === 'user_message')).toMatchObject([
    { turn: 0 },
    { turn: 2, content: { text: 'Only the blue ones.', message: 1, by: 'ann@acme' } },
    { turn: 2, content: { text: 'And hurry.', message: 2, by: 'ann@acme' } },
  ]);
});

test('a repeated attempt reads what the first one read; what came between waits for the next turn', async () => {
  const run = await bench.run();
  await say(run, 'First.');
  const first = await conversation(run, 1);
  await say(run, 'Second.');
  expect(await conversation(run, 1)).toEqual(first);
  expect(await run.row()).toMatchObject({ messages_sent: 2, messages_read: 1 });
  const { id } = await run.open(1, { number: 3 });
  await bench.turns.storeAnswer(run.ref, 1, id, answer(), 0);
  expect(texts(await conversation(run, 2))).toEqual([['Do it.', 'First.'], ['Done.'], ['Second.']]);
});

test('attempts at the same time agree on what was said, whatever comes in between', async () => {
  const run = await bench.run();
  await say(run, 'First.');
  const opened = await Promise.all([
    ...Array.from({ length: 6 }, (_, nth) => run.open(1, { number: nth + 1 })),
    say(run, 'Second.'),
  ]);
  const read = opened.flatMap((one) =>
    one && one.opened.kind === 'reserved' ? [texts(one.opened.request.messages)] : [],
  );
  expect(read).toHaveLength(6);
  expect(new Set(read.map((one) => JSON.stringify(one))).size).toBe(1);
});

test('where nothing is affordable, or the run is paused, nothing is read', async () => {
  const poor = await bench.run({ budget: 10 });
  await say(poor, 'Hello?');
  expect((await poor.open(1)).opened.kind).toBe('budget');
  const paused = await bench.run({ columns: { status: 'paused', paused_by: 'bob' } });
  await say(paused, 'Hello?');
  expect((await paused.open(1)).opened.kind).toBe('paused');
  for (const run of [poor, paused]) expect(await run.row()).toMatchObject({ messages_read: 0 });
});

test('a run with something unread is not closed where it may go on; where it is stopped its end names it', async () => {
  const run = await bench.run();
  const { id } = await run.open(1);
  await bench.turns.storeAnswer(run.ref, 1, id, answer(), 0);
  await say(run, 'Wait!');
  const before = await run.row();
  expect(await bench.calls.close(run.ref, { ...COMPLETED, mayGoOn: true })).toMatchObject({ unread: 1, promoted: [] });
  expect(await run.row()).toEqual(before);
  const stopped = { status: 'cancelled', reason: 'cancelled', message: '' } as const;
  expect(await bench.calls.close(run.ref, stopped)).toMatchObject({ unread: 0 });
  expect((await run.events()).at(-1)).toMatchObject({
    kind: 'run.closed',
    data: { status: 'cancelled', unread: [{ message: 1, by: 'ann@acme', text: 'Wait!' }] },
  });
  // A repeat is told of the end that is stored.
  expect(await bench.calls.close(run.ref, { ...COMPLETED, mayGoOn: true })).toMatchObject({ unread: 0 });
  const quiet = await bench.run();
  await bench.calls.close(quiet.ref, { ...COMPLETED, mayGoOn: true });
  expect((await quiet.events()).at(-1)?.data).not.toHaveProperty('unread');
});

test('closing against sending: each message is unread at the close, which then does not happen, or never taken', async () => {
  for (let round = 0; round < 10; round += 1) {
    const run = await bench.run();
    // Both wait for the run's row; whoever gets it first decides.
    const held = Promise.withResolvers<void>();
    const holding = withTenant(bench.db, run.ref.tenant, async (trx) => {
      await lockRemainders(trx, run.ref.tenant, run.ref.run, new Date());
      await held.promise;
    });
    const send = bench.database.query(
      `update steward.agent_runs set messages_sent = messages_sent + 1 where id = $1 and closed_at is null returning id`,
      [run.ref.run],
    );
    const close = bench.calls.close(run.ref, { ...COMPLETED, mayGoOn: true });
    held.resolve();
    const [taken, closed] = await Promise.all([send, close, holding]);
    expect(taken.length).toBe(closed.unread);
    expect((await run.row()).closed_at === null).toBe(closed.unread === 1);
  }
});

test('words stand behind tool results, and behind the words of an assistant', () => {
  const said = [{ number: 1, by: 'ann', text: 'More.' }];
  const user: Message = { role: 'user', content: [{ type: 'text', text: 'Hello.' }] };
  const model: Message = { role: 'assistant', content: [{ type: 'text', text: 'Hi.' }] };
  expect(texts(withMessages([user], said))).toEqual([['Hello.', 'More.']]);
  expect(texts(withMessages([user, model], said))).toEqual([['Hello.'], ['Hi.'], ['More.']]);
  expect(withMessages([user, model], [])).toEqual([user, model]);
});
