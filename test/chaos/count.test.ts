import { expect, test } from '@jest/globals';
import { count } from './count.ts';
import type { Evidence } from './evidence.ts';
import { CREATED, EFFECTS_PER_RUN, intentsOf } from './intents.ts';

const SEED = 5;
const intents = intentsOf(SEED, 0);
const [first] = intents.filter(({ tool }) => tool === 'update_task_status');
const status = first?.effect ?? '';
const title = status.slice(0, status.indexOf(': '));

/** One run, everything as it should be. */
const whole: Evidence = {
  effects: intents.map(({ effect }, index) => ({ effect, key: `k${index}` })),
  calls: intents.map(({ effect }, index) => ({ effect, key: `k${index}`, state: 'done' })),
  tasks: intents
    .filter(({ effect }) => effect.endsWith(`: ${CREATED}`))
    .map(({ effect }) => effect.slice(0, effect.indexOf(': ')))
    .map((of) => ({
      title: of,
      rows: 1,
      changes: intents.filter(({ effect }) => effect.startsWith(`${of}: `)).length - 1,
    })),
  runs: [{ number: 0, status: 'completed', closed: true }],
  mailsRepeated: 0,
};
const well = {
  completed: 1,
  effectsExpected: EFFECTS_PER_RUN,
  effectsFound: EFFECTS_PER_RUN,
  duplicated: 0,
  lost: 0,
  unknown: 0,
  stuck: 0,
  contradicted: 0,
  disagreements: 0,
};

test('all is well where each effect is there once', () => {
  expect(count(whole, SEED, 1)).toEqual(well);
});

test('an effect that took place twice is a duplicate, under the same key or another', () => {
  const again = { effect: status, key: 'k4' };
  const tasks = whole.tasks.map((task) => (task.title === title ? { ...task, changes: task.changes + 1 } : task));
  const twice = { ...whole, tasks, effects: [...whole.effects, again] };
  expect(count(twice, SEED, 1)).toEqual({ ...well, duplicated: 1 });
  const other = { ...twice, effects: [...whole.effects, { ...again, key: 'k99' }] };
  const failed = [...whole.calls, { effect: status, key: 'k99', state: 'failed' }];
  expect(count({ ...other, calls: failed }, SEED, 1)).toEqual({ ...well, duplicated: 1, contradicted: 1 });
});

test('an effect that was reported and is not there is lost', () => {
  const effects = whole.effects.filter(({ effect }) => effect !== status);
  const tasks = whole.tasks.map((task) => (task.title === title ? { ...task, changes: task.changes - 1 } : task));
  expect(count({ ...whole, effects, tasks }, SEED, 1)).toEqual({ ...well, lost: 1, effectsFound: EFFECTS_PER_RUN - 1 });
});

test('versions that do not fit the activity are seen', () => {
  const tasks = whole.tasks.map((task) => (task.title === title ? { ...task, changes: task.changes + 1 } : task));
  expect(count({ ...whole, tasks }, SEED, 1)).toEqual({ ...well, disagreements: 1 });
  const effects = [...whole.effects, { effect: `${title}: creation undone`, key: 'k1' }];
  expect(count({ ...whole, effects }, SEED, 1).disagreements).toBe(2);
});

test('a run that is missing, open or without one of its effects is not completed', () => {
  expect(count({ ...whole, runs: [] }, SEED, 1)).toMatchObject({ completed: 0, effectsExpected: 0, stuck: 1 });
  const open = { ...whole, runs: [{ number: 0, status: 'running', closed: false }] };
  expect(count(open, SEED, 1)).toMatchObject({ completed: 0, stuck: 1 });
  const calls = whole.calls.map((call) => (call.effect === status ? { ...call, state: 'outcome_unknown' } : call));
  expect(count({ ...whole, calls }, SEED, 1)).toMatchObject({ completed: 0, stuck: 0, unknown: 1, lost: 0 });
});
