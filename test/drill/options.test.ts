import { expect, test } from '@jest/globals';
import { readOptions } from './options.ts';

test('arguments are read, and wrong ones are named', () => {
  expect(readOptions([])).toMatchObject({ runs: 40, sabotage: null, json: false });
  expect(readOptions(['--runs', '16', '--seed', '7', '--sabotage', 'push', '--json'])).toEqual({
    runs: 16,
    seed: 7,
    sabotage: 'push',
    json: true,
  });
  expect(readOptions(['--help'])).toBeNull();
  expect(() => readOptions(['--runs', '3'])).toThrow('--runs takes a whole number from 16 to 200');
  expect(() => readOptions(['--sabotage', 'all'])).toThrow('--sabotage takes push or guard');
  expect(() => readOptions(['--nothing'])).toThrow('nothing');
});
