import { expect, test } from '@jest/globals';
import { readOptions, UsageError } from './options.ts';

test('without arguments every task is played, nothing is killed, eight at once', () => {
  expect(readOptions([])).toEqual({
    kills: 0,
    tasks: 1_000,
    parallel: 8,
    sabotage: null,
    json: false,
    minutes: 10,
  });
  expect(readOptions(['--chaos', '--sabotage', 'receipts'])).toMatchObject({ kills: 20, sabotage: 'receipts' });
  expect(readOptions(['--help'])).toBeNull();
});

test.each([
  [['--kills', '0', '--chaos']],
  [['--parallel', '33']],
  [['--tasks', 'all']],
  [['--sabotage', 'receipts']],
  [['--sabotage', 'chaos', '--chaos']],
  [['--runs', '3']],
  [['more']],
])('%j is refused', (args) => {
  expect(() => readOptions(args)).toThrow(UsageError);
});
