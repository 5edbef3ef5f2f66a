import { expect, test } from '@jest/globals';
import { readOptions, UsageError } from './options.ts';

test('arguments are read, and what is wrong with them is said', () => {
  expect(readOptions([])).toEqual({ json: false, sabotage: null });
  expect(readOptions(['--json', '--sabotage', 'fallback'])).toEqual({ json: true, sabotage: 'fallback' });
  expect(readOptions(['--help'])).toBeNull();
  for (const args of [['--sabotage', 'receipts'], ['--sabotage'], ['--runs', '3'], ['more']]) {
    expect(() => readOptions(args)).toThrow(UsageError);
  }
});
