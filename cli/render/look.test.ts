import { expect, test } from '@jest/globals';
import { COLOURS, lookFor, PLAIN } from './look.ts';

test('colours are for terminals, and NO_COLOR has the last word', () => {
  expect(lookFor({ isTTY: true, columns: 100 }, {}).paint).toBe(COLOURS);
  expect(lookFor({ isTTY: true, columns: 100 }, { NO_COLOR: '1' }).paint).toBe(PLAIN);
  expect(lookFor({ isTTY: true, columns: 100 }, { NO_COLOR: '1', FORCE_COLOR: '1' }).paint).toBe(PLAIN);
  expect(lookFor({ isTTY: true, columns: 100 }, { NO_COLOR: '' }).paint).toBe(COLOURS);
  expect(lookFor({ isTTY: true, columns: 100 }, { TERM: 'dumb' }).paint).toBe(PLAIN);
  expect(lookFor({}, {}).paint).toBe(PLAIN);
  expect(lookFor({}, { FORCE_COLOR: '1' }).paint).toBe(COLOURS);
});

test('a terminal has its width, a pipe has none', () => {
  expect(lookFor({ isTTY: true, columns: 100 }, {}).width).toBe(100);
  expect(lookFor({ isTTY: true, columns: 3 }, {}).width).toBe(40);
  expect(lookFor({}, {}).width).toBe(Number.POSITIVE_INFINITY);
  expect(lookFor({}, { COLUMNS: '72' }).width).toBe(72);
});

test('nothing is painted where there is nothing', () => {
  expect(COLOURS.red('x')).toBe('\u001b[31mx\u001b[39m');
  expect(COLOURS.red('')).toBe('');
  expect(PLAIN.red('x')).toBe('x');
});
