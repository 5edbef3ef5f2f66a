import { expect, test } from '@jest/globals';
import { readOptions, UsageError } from './options.ts';

const read = (...args: string[]) => readOptions(args, () => 7);

test('what is not said has a default', () => {
  expect(read()).toEqual({ json: false, turns: [10, 100], cancels: 20, rounds: 3, seed: 7 });
  expect(read('--quick', '--json')).toEqual({ json: true, turns: [10, 100], cancels: 6, rounds: 1, seed: 7 });
});

test('what is said counts, also beside --quick', () => {
  const said = read('--quick', '--turns', '100,5,100', '--cancels', '0', '--rounds', '2', '--seed', '0');
  expect(said).toEqual({ json: false, turns: [5, 100], cancels: 0, rounds: 2, seed: 0 });
  expect(read('--help')).toBeNull();
});

test.each([
  [['--turns', '0']],
  [['--turns', '10,']],
  [['--turns', '1,2,3,4,5,6']],
  [['--turns', '1001']],
  [['--cancels', '-1']],
  [['--rounds', 'many']],
  [['--seed', '1.5']],
  [['--unknown']],
  [['extra']],
])('%j is refused', (args) => {
  expect(() => read(...args)).toThrow(UsageError);
});
