import { expect, test } from '@jest/globals';
import { readOptions } from './options.ts';

test('defaults, and what is wrong is said', () => {
  expect(readOptions([])).toMatchObject({ runs: 24, sabotage: null, json: false });
  expect(readOptions(['--runs', '8', '--seed', '7', '--sabotage', 'windows', '--json'])).toEqual({
    runs: 8,
    seed: 7,
    sabotage: 'windows',
    json: true,
  });
  expect(readOptions(['--help'])).toBeNull();
  for (const wrong of [['--runs', '1'], ['--runs', 'x'], ['--seed', '-1'], ['--sabotage', 'guard'], ['--odd']]) {
    expect(() => readOptions(wrong)).toThrow();
  }
});
