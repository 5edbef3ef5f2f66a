import { expect, test } from '@jest/globals';
import { forecastOf } from './forecast.ts';

const NOW = Date.UTC(2026, 10, 21);
const DAY = 86_400_000;

test('a month ends at what it has cost and the rate of the last seven days for the rest of it', () => {
  const found = forecastOf({ now: NOW, spent: 7_000, since: NOW - 7 * DAY, settled: 20_000, limit: 25_000 });
  expect(found).toEqual({ daily: 1_000, days: 7, forecast: 30_000, exhaustedAt: NOW + 5 * DAY });
});

test('a rate is measured over the days there were, and a few hours count as a day', () => {
  const short = forecastOf({ now: NOW, spent: 600, since: NOW - DAY / 10, settled: 600, limit: null });
  expect(short).toEqual({ daily: 600, days: 1, forecast: 6_600, exhaustedAt: null });
  expect(forecastOf({ now: NOW, spent: 0, since: null, settled: 0, limit: 5 })).toMatchObject({
    forecast: 0,
    exhaustedAt: null,
  });
  expect(forecastOf({ now: NOW, spent: 0, since: null, settled: 6, limit: 5 }).exhaustedAt).toBe(NOW);
});
