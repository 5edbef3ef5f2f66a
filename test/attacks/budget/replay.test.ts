import { expect, test } from '@jest/globals';
import { type Move, replay } from './replay.ts';

const move = (more: Partial<Move>): Move => ({
  account: 'a',
  attempt: 'x',
  state: 'reserved',
  was: null,
  held: 60,
  settled: 0,
  before: 0,
  ...more,
});

test('an admission counts as past the limit where what is held and spent by then comes to more', () => {
  const settled = move({ state: 'settled', was: 'reserved', settled: 20 });
  expect(replay([move({}), settled, move({}), move({})], 100)).toEqual({
    reserved: 120,
    settled: 20,
    admitted: 3,
    admittedPastLimit: 1,
  });
  expect(replay([move({}), move({}), settled], 100).admittedPastLimit).toBe(1);
  expect(replay([move({}), settled, move({})], 80).admittedPastLimit).toBe(0);
  expect(replay([move({}), move({})], null).admittedPastLimit).toBe(0);
});

test('a charge that is corrected counts once, and overage takes room from who comes next', () => {
  const charged = move({ state: 'charged', was: 'reserved', settled: 60 });
  const corrected = move({ state: 'settled', was: 'charged', settled: 90, before: 60 });
  expect(replay([move({}), charged, corrected, move({ held: 10 })], 99)).toEqual({
    reserved: 10,
    settled: 90,
    admitted: 2,
    admittedPastLimit: 1,
  });
});
