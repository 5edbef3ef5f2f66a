import { expect, test } from '@jest/globals';
import { readOptions, UsageError } from './options.ts';

const read = (...args: string[]) => readOptions(args, () => 7);

test('what is not said has a default', () => {
  const whole = { turns: [10, 100, 1_000], cancels: 20, rounds: 3, crowdTurns: 10, slowTurns: 20 };
  expect(read()).toEqual({ ...whole, json: false, seed: 7 });
  const quick = { turns: [10, 100], cancels: 6, rounds: 1, crowdTurns: 3, slowTurns: 8 };
  expect(read('--quick', '--json')).toEqual({ ...quick, json: true, seed: 7 });
});

test('what is said counts, also beside --quick', () => {
  const said = read(...'--quick --turns 100,5,100 --cancels 0 --rounds 2 --seed 0 --crowd 0 --slow 1'.split(' '));
  const options = { turns: [5, 100], cancels: 0, rounds: 2, crowdTurns: 0, slowTurns: 1 };
  expect(said).toEqual({ ...options, json: false, seed: 0 });
  expect(read('--help')).toBeNull();
});

test.each([
  [['--turns', '0']],
  [['--turns', '10,']],
  [['--turns', '1,2,3,4,5,6']],
  [['--turns', '1001']],
  [['--cancels', '-1']],
  [['--rounds', 'many']],
  [['--crowd', '101']],
  [['--seed', '1.5']],
  [['--unknown']],
  [['extra']],
])('%j is refused', (args) => {
  expect(() => read(...args)).toThrow(UsageError);
});
