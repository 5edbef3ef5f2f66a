import { expect, test } from '@jest/globals';
import { readStops, type Stop, stopMessage, stopOfCall, stopOfRun } from './kill-switch.ts';

const stop = (more: Partial<Stop> = {}): Stop => ({
  id: 's-1',
  scope: 'tenant',
  target: '',
  mode: 'kill',
  action: 'cancel',
  ...more,
});
const tool = stop({ id: 's-tool', scope: 'tool', target: 'send', action: 'none' });
const safe = stop({ id: 's-safe', mode: 'safe_mode', action: 'none' });
const pause = stop({ id: 's-pause', action: 'pause' });

test('a run is stopped by kills of its scope, and cancelled rather than paused', () => {
  expect(stopOfRun([])).toBeNull();
  expect(stopOfRun([tool, safe])).toBeNull();
  expect(stopOfRun([pause])).toBe(pause);
  expect(stopOfRun([pause, stop()])).toMatchObject({ action: 'cancel' });
});

test('a call is refused by what stops its run, by a kill of its tool, and in safe mode where it has an effect', () => {
  expect(stopOfCall([tool], { tool: 'send', effect: false })).toBe(tool);
  expect(stopOfCall([tool], { tool: 'look', effect: true })).toBeNull();
  expect(stopOfCall([safe], { tool: 'look', effect: false })).toBeNull();
  expect(stopOfCall([safe], { tool: 'send', effect: true })).toBe(safe);
  expect(stopOfCall([safe, pause, tool], { tool: 'send', effect: true })).toBe(pause);
  const safeTool = stop({ scope: 'tool', target: 'send', mode: 'safe_mode', action: 'none' });
  expect(stopOfCall([safeTool], { tool: 'other', effect: true })).toBeNull();
});

test('what cannot be understood is no list of switches', () => {
  expect(readStops([])).toEqual([]);
  expect(readStops([stop()])).toEqual([stop()]);
  for (const wrong of [
    null,
    undefined,
    {},
    '[]',
    [null],
    [{ ...stop(), scope: 'planet' }],
    [{ ...stop(), mode: 'off' }],
    [{ ...stop(), action: 'ignore' }],
    [{ ...stop(), id: 1 }],
  ]) {
    expect(() => readStops(wrong)).toThrow(RangeError);
  }
});

test('the message names what is stopped, and says what to do', () => {
  expect(stopMessage(stop({ scope: 'agent', target: 'helper' }))).toContain('agent helper (switch s-1)');
  expect(stopMessage(safe)).toContain('Safe mode is on for this tenant');
});
