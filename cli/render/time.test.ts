import { expect, test } from '@jest/globals';
import { PLAIN } from './look.ts';
import { clock, duration, parseDuration, relative, when } from './time.ts';

const look = { paint: PLAIN, width: 80, now: Date.UTC(2026, 10, 20, 12, 0, 0), timeZone: 'UTC' };

test('spans in their two largest units', () => {
  expect(duration(0)).toBe('0.0s');
  expect(duration(9_999)).toBe('9.9s');
  expect(duration(42_100)).toBe('42s');
  expect(duration(185_000)).toBe('3m 05s');
  expect(duration(7_800_000)).toBe('2h 10m');
  expect(duration(7 * 86_400_000 - 1)).toBe('6d 23h');
  expect(duration(-5)).toBe('0.0s');
});

test('times are local and relative', () => {
  expect(clock(look.now, look)).toBe('2026-11-20 12:00:00');
  expect(clock(look.now, { ...look, timeZone: 'Asia/Tokyo' })).toBe('2026-11-20 21:00:00');
  expect(relative(look.now - 185_000, look.now)).toBe('3m 05s ago');
  expect(relative(look.now + 60_000, look.now)).toBe('in 1m 00s');
  expect(relative(look.now, look.now)).toBe('now');
  expect(when(undefined, look)).toBe('-');
});

test('spans as typed', () => {
  expect(parseDuration('500ms')).toBe(500);
  expect(parseDuration('1h30m')).toBe(5_400_000);
  expect(parseDuration('1.5s')).toBe(1_500);
  for (const bad of ['', '5', '-1s', 's', '0s', '1w', '1 h']) expect(parseDuration(bad)).toBeNull();
});
