import { expect, test } from '@jest/globals';
import { readOptions, UsageError } from './options.ts';

const read = (...args: string[]) => readOptions(args, () => 7);

test('what is not said has a default', () => {
  const usual = {
    runs: 20,
    kills: 20,
    servers: 2,
    skewMs: 20_000,
    drop: 0.5,
    late: 10,
    seed: 7,
    sabotage: null,
    json: false,
    minutes: 8,
  };
  expect(read()).toEqual(usual);
  expect(read('--runs', '5', '--json')).toEqual({ ...usual, runs: 5, late: 3, json: true });
});

test('what is said counts', () => {
  const said = read(
    '--runs',
    '3',
    '--kills',
    '0',
    '--late',
    '1',
    '--seed',
    '0',
    '--sabotage',
    'resolve',
    '--minutes',
    '2',
    '--skew',
    '0',
    '--drop',
    '100',
  );
  expect(said).toMatchObject({
    runs: 3,
    kills: 0,
    servers: 0,
    late: 1,
    seed: 0,
    sabotage: 'resolve',
    json: false,
    minutes: 2,
  });
  expect(said).toMatchObject({ skewMs: 0, drop: 1 });
  expect(read('--help')).toBeNull();
});

test.each([
  [['--runs', '0']],
  [['--runs', '101']],
  [['--kills', '-1']],
  [['--kills', 'many']],
  [['--kills', '2', '--servers', '3']],
  [['--skew', '121']],
  [['--drop', '101']],
  [['--late', '']],
  [['--seed', '1.5']],
  [['--sabotage', 'everything']],
  [['--unknown']],
  [['extra']],
])('%j is refused', (args) => {
  expect(() => read(...args)).toThrow(UsageError);
});
