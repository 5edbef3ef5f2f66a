import { expect, test } from '@jest/globals';
import { UsageError } from '../options.ts';
import { readOptions } from './options.ts';

const read = (...args: string[]) => readOptions(args, () => 7);
const ALL = ['steward', 'langgraph', 'dbos', 'restate', 'ai-sdk'];

test('what is not said has a default', () => {
  expect(read()).toEqual({ json: false, only: ALL, rounds: 3, crowdTurns: 10, seed: 7 });
  expect(read('--quick', '--json', '--crowd', '5')).toEqual({
    json: true,
    only: ALL,
    rounds: 1,
    crowdTurns: 5,
    seed: 7,
  });
  expect(read('--help')).toBeNull();
});

test('Steward is always among those that are compared', () => {
  expect(read('--only', 'restate,dbos')?.only).toEqual(['steward', 'dbos', 'restate']);
});

test.each([[['--only', 'inngest']], [['--only', '']], [['--rounds', '0']], [['--crowd', '101']], [['--turns', '5']]])(
  '%j is refused',
  (args) => {
    expect(() => read(...args)).toThrow(UsageError);
  },
);
