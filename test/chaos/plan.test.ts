import { expect, test } from '@jest/globals';
import { randomOf } from '#bench/figures.ts';
import { planOf } from './plan.ts';
import { POINTS, TARGETS } from './points.ts';

const plan = (runs: number, kills: number, seed = 1, servers = 0) =>
  planOf({ runs, kills, servers, late: 3 }, randomOf(seed));
const names = (of: ReturnType<typeof plan>) => of.kills.map(({ target, point }) => `${target} ${point}`).sort();

test('a seed repeats a plan, another one changes it', () => {
  expect(plan(20, 20)).toEqual(plan(20, 20));
  expect(plan(20, 20, 2)).not.toEqual(plan(20, 20));
});

test('a short suite kills at the points that matter most, whatever its seed', () => {
  const six = [
    'guard after-authorize',
    'messaging after-far-effect',
    'projects after-commit',
    'run-api before-start',
    'worker after-effect',
    'worker after-model-answer',
  ];
  expect(names(plan(6, 6))).toEqual(six);
  expect(names(plan(6, 6, 99))).toEqual(six);
  expect(names(plan(3, 2))).toEqual(['projects after-commit', 'worker after-effect']);
});

test('a long one kills every process at every point, and wherever it is', () => {
  const killed = names(plan(20, 40));
  for (const target of TARGETS) {
    expect(killed).toContain(`${target} null`);
    for (const point of Object.keys(POINTS[target])) expect(killed).toContain(`${target} ${point}`);
  }
  expect(killed).toHaveLength(40);
});

test('kills come while there is work, those at a start before a start', () => {
  const { kills, starts, late } = plan(20, 60);
  const due = kills.map(({ at }) => at);
  expect(due).toEqual([...due].sort((a, b) => a - b));
  expect(Math.max(...due, ...late.map(({ at }) => at))).toBeLessThan(0.95);
  expect(starts.filter((at) => at === 0)).toHaveLength(10);
  const atStart = kills.filter(({ target, point }) => target === 'run-api' && point !== null);
  expect(atStart[0]?.at).toBe(0);
  for (const { at } of atStart) expect(at).toBeLessThan(Math.max(...starts));
});

test('Postgres and Temporal are killed in turn, within the number of kills', () => {
  const killed = names(plan(20, 20, 1, 3));
  expect(killed.filter((name) => name === 'postgres null')).toHaveLength(2);
  expect(killed.filter((name) => name === 'temporal null')).toHaveLength(1);
  expect(killed).toHaveLength(20);
});

test('one run and no kills make a plan too', () => {
  expect(planOf({ runs: 1, kills: 0, servers: 0, late: 0 }, randomOf(1))).toEqual({ kills: [], starts: [0], late: [] });
});
