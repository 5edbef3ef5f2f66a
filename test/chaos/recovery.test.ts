import { expect, test } from '@jest/globals';
import { recoveriesOf } from './recovery.ts';
import type { Kill } from './supervisor.ts';

const kill = (at: number, readyAt: number | null, ...runs: string[]): Kill => ({
  target: 'worker',
  pid: at,
  point: null,
  at,
  readyAt,
  work: runs.map((run) => ({ what: 'model', run })),
});
const event = (run: string, at: number) => ({ run, at });

test('a wait ends with the first event after the worker is back', () => {
  const events = [event('a', 90), event('a', 150), event('b', 210), event('a', 230), event('a', 300)];
  expect(recoveriesOf([kill(100, 200, 'a', 'a', 'b')], events)).toEqual([
    { run: 'a', backToStep: 30, killToStep: 130 },
    { run: 'b', backToStep: 10, killToStep: 110 },
  ]);
});

test('a run that was not got back to before the next kill goes on waiting, from the first one', () => {
  const events = [event('a', 520)];
  expect(recoveriesOf([kill(100, 200, 'a'), kill(300, 500)], events)).toEqual([
    { run: 'a', backToStep: 20, killToStep: 420 },
  ]);
  expect(recoveriesOf([kill(100, null, 'a'), kill(300, 500, 'a')], events)).toHaveLength(1);
});

test('a run with nothing to come gives no figure', () => {
  expect(recoveriesOf([kill(100, 200, 'a')], [event('a', 150)])).toEqual([]);
});
