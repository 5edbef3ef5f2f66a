import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { AssistantBlock, Message } from '#domain/conversation.ts';
import { answer, proposed, type SeededRun, workerBench } from '#test/support/worker-bench.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

async function turn(run: SeededRun, number: number, said: readonly AssistantBlock[]): Promise<void> {
  const { id } = await run.open(number);
  await bench.turns.storeAnswer(run.ref, number, id, answer(said), 0);
}

const DONE = { kind: 'done', resultJson: '{"n":1}', change: null, undoable: false, repeated: false } as const;

async function result(run: SeededRun, callId: string): Promise<void> {
  await run.judge(callId);
  await bench.calls.endCall(run.ref, callId, DONE);
}

async function close(run: SeededRun): Promise<void> {
  await bench.calls.close(run.ref, { status: 'cancelled', reason: 'cancelled', message: '' });
}

/** A run that goes on from others, as run-api writes it. */
async function after(earlier: readonly SeededRun[], columns: Readonly<Record<string, unknown>> = {}) {
  const steps = await Promise.all(earlier.map(async (run) => (await run.row()).step_seq as number));
  const runs = earlier.map((run) => run.ref.run);
  return bench.run({
    tenant: earlier[0]?.ref.tenant ?? '',
    input: 'Go on.',
    columns: { earlier_runs: runs, earlier_steps: steps, ...columns },
  });
}

async function conversation(run: SeededRun, number = 1): Promise<readonly Message[]> {
  const { opened } = await run.open(number);
  if (opened.kind !== 'reserved') throw new Error(`it was ${opened.kind}`);
  return opened.request.messages;
}

const shape = (messages: readonly Message[]) =>
  messages.map((message) =>
    message.content.map((block) =>
      'text' in block ? block.text : block.type === 'tool_call' ? block.tool : block.type,
    ),
  );

const thought: AssistantBlock = { type: 'thinking', provider: 'anthropic', data: { thinking: 'Hm.' } };

test('a run goes on with what was said in the ones before it, oldest first', async () => {
  const first = await bench.run({ input: 'Begin.' });
  await turn(first, 1, [proposed('1.0')]);
  await result(first, '1.0');
  await turn(first, 2, [{ type: 'text', text: 'One done.' }]);
  await close(first);
  const second = await after([first]);
  await turn(second, 1, [{ type: 'text', text: 'Two done.' }]);
  await close(second);
  const third = await after([first, second]);
  const begun = await conversation(third);
  expect(shape(begun)).toEqual([
    ['Begin.'],
    ['edit_note'],
    ['{"n":1}'],
    ['One done.'],
    ['Go on.'],
    ['Two done.'],
    ['Go on.'],
  ]);
  // Its own calls have ids of its own, though they are numbered alike.
  await turn(third, 1, [proposed('1.0')]);
  await result(third, '1.0');
  expect(shape((await conversation(third, 2)).slice(7))).toEqual([['edit_note'], ['{"n":1}']]);
  expect((await third.call('1.0')).key).toBe(`${third.ref.run}/1.0`);
});

test('calls that were left open when a run ended are answered, each once, before the next words', async () => {
  const first = await bench.run({ input: 'Begin.' });
  await turn(first, 1, [proposed('1.0'), proposed('1.1'), proposed('1.2')]);
  await result(first, '1.1');
  await close(first);
  const messages = await conversation(await after([first]));
  expect(messages).toHaveLength(3);
  expect(messages[2]?.content).toMatchObject([
    {
      type: 'tool_result',
      callId: '1.0',
      isError: true,
      text: expect.stringContaining('may have taken effect or not'),
    },
    { type: 'tool_result', callId: '1.1', isError: false, text: '{"n":1}' },
    { type: 'tool_result', callId: '1.2', isError: true },
    { type: 'text', text: 'Go on.' },
  ]);
});

test('a result that comes after a run has closed changes no conversation that goes on from it', async () => {
  const first = await bench.run({ input: 'Begin.' });
  await turn(first, 1, [proposed('1.0')]);
  await first.judge('1.0', { state: 'started' });
  await close(first);
  const second = await after([first]);
  const before = await conversation(second);
  await bench.calls.endCall(first.ref, '1.0', DONE);
  expect((await first.steps()).at(-1)).toMatchObject({ kind: 'tool_result' });
  expect(await conversation(second)).toEqual(before);
});

test('thinking goes back behind the words it was written behind, and behind no others', async () => {
  const first = await bench.run({ input: 'Begin.' });
  await turn(first, 1, [thought, { type: 'text', text: 'Done.' }]);
  await close(first);
  expect(shape(await conversation(await after([first])))).toContainEqual(['thinking', 'Done.']);
  const changed = await after([first], { prefix_from: 2 });
  expect(shape(await conversation(changed))).toContainEqual(['Done.']);
  await turn(changed, 1, [thought, { type: 'text', text: 'Mine.' }]);
  expect(shape(await conversation(changed, 2))).toContainEqual(['thinking', 'Mine.']);
});
