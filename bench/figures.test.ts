import { expect, test } from '@jest/globals';
import { columns, median, percentile, randomOf, rounded, shuffled } from './figures.ts';

test('the median is the middle one, or between the two in the middle', () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test('a percentile is a measured value', () => {
  const twenty = Array.from({ length: 20 }, (_, index) => 20 - index);
  expect(percentile(twenty, 50)).toBe(10);
  expect(percentile(twenty, 99)).toBe(20);
  expect(percentile([3], 99)).toBe(3);
  expect(percentile([], 50)).toBeNaN();
});

test('what was not measured is null', () => {
  expect(rounded(1.26)).toBe(1.3);
  expect(rounded(1234.5, 0)).toBe(1235);
  expect(rounded(Number.NaN)).toBeNull();
});

test('a seed repeats an order, and everything stays in it', () => {
  const values = Array.from({ length: 30 }, (_, index) => index);
  const once = shuffled(values, randomOf(5));
  expect(shuffled(values, randomOf(5))).toEqual(once);
  expect(shuffled(values, randomOf(6))).not.toEqual(once);
  expect(once.toSorted((a, b) => a - b)).toEqual(values);
});

test('columns stand under one another', () => {
  expect(
    columns([
      ['', '10', '100'],
      ['turns', '1', '2'],
    ]),
  ).toEqual(['       10  100', 'turns   1    2']);
});
