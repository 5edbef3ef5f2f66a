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

test('a wait ends with the first event after the kill', () => {
  const events = [event('a', 90), event('b', 195), event('a', 230), event('b', 240), event('a', 300)];
  expect(recoveriesOf([kill(100, 200, 'a', 'a', 'b')], events)).toMatchObject([
    { run: 'a', backToStep: 30, killToStep: 130 },
    // A worker has taken up its runs a little before it says that it serves.
    { run: 'b', backToStep: 0, killToStep: 95 },
  ]);
});

test('a run that was not got back to before the next kill goes on waiting, from the first one', () => {
  const events = [event('a', 520)];
  expect(recoveriesOf([kill(100, 200, 'a'), kill(300, 500)], events)).toMatchObject([
    { run: 'a', backToStep: 20, killToStep: 420 },
  ]);
  expect(recoveriesOf([kill(100, null, 'a'), kill(300, 500, 'a')], events)).toHaveLength(1);
});

test('a run with nothing to come gives no figure', () => {
  expect(recoveriesOf([kill(100, 200, 'a')], [event('a', 90), event('b', 250)])).toEqual([]);
});
