import { expect, test } from '@jest/globals';
import { type RehearsedTool, rehearse } from '#services/offline-model/rehearse.ts';
import { EFFECTS_PER_RUN, intentsOf } from '../intents.ts';
import { chaos } from './chaos.ts';

const message = 'script: chaos\nparams: {"seed":5,"run":3}';
const NOT_DONE = JSON.stringify({
  error: { code: 'TOMBSTONED', message: 'The call did not take place: it was cut off.' },
});

/** Tools that do what they are told, unless `fails` says otherwise; and what they were told. */
function tools(fails: (tool: string, time: number) => string | null = () => null) {
  const told: string[] = [];
  const times = new Map<string, number>();
  const does =
    (tool: string, result: (args: Readonly<Record<string, unknown>>) => unknown): RehearsedTool =>
    (args) => {
      const call = `${tool} ${JSON.stringify(args)}`;
      const time = (times.get(call) ?? 0) + 1;
      times.set(call, time);
      told.push(call);
      const failure = fails(tool, time);
      return failure === null ? result(args) : new Error(failure);
    };
  return {
    told,
    tools: {
      create_task: does('create_task', ({ title }) => ({ task: { id: `id of ${String(title)}`, title } })),
      update_task_status: does('update_task_status', () => ({})),
      assign_task: does('assign_task', () => ({})),
      delete_task: does('delete_task', () => ({})),
      send_email: does('send_email', () => ({})),
    },
  };
}

test('brings about each effect once, and says so', () => {
  const { told, tools: all } = tools();
  const answers = rehearse(chaos, { message, tools: all });
  expect(answers.at(-1)?.text).toBe(`All ${EFFECTS_PER_RUN} are done.`);
  expect(told).toHaveLength(EFFECTS_PER_RUN);
  expect(new Set(told).size).toBe(EFFECTS_PER_RUN);
});

test('proposes again what was reported as not done, and ends only when all is done', () => {
  const { told, tools: all } = tools((_tool, time) => (time === 1 ? NOT_DONE : null));
  expect(rehearse(chaos, { message, tools: all }).at(-1)?.text).toBe(`All ${EFFECTS_PER_RUN} are done.`);
  expect(told).toHaveLength(2 * EFFECTS_PER_RUN);
});

test('gives up after a refusal, and after a few tries', () => {
  const refused = tools((tool) => (tool === 'delete_task' ? '{"error":{"code":"TASK_NOT_FOUND"}}' : null));
  expect(rehearse(chaos, { message, tools: refused.tools }).at(-1)?.text).toMatch(/^Gave up on .*deleted/);
  const never = tools(() => NOT_DONE);
  expect(rehearse(chaos, { message, tools: never.tools }).at(-1)?.text).toMatch(/^Gave up on /);
});

test('runs have effects of their own, told apart by seed and number', () => {
  const all = [0, 1, 2, 3].flatMap((run) => [1, 2].flatMap((seed) => intentsOf(seed, run)));
  expect(new Set(all.map(({ effect }) => effect)).size).toBe(8 * EFFECTS_PER_RUN);
});
