import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { complaints, play, type Suite, skipReason } from '#scripts/run-suites.ts';

const node = (script: string): Suite['command'] => [process.execPath, '-e', script];
const output = 'progress\n{"duplicated":0,"lost":2,"turns":{"100":{"ms":31.5}},"status":"completed"}\n';

test('figures are held exactly or within bounds, by their path', () => {
  const figures = { duplicated: 0, lost: { min: 1 }, 'turns.100.ms': { min: 10, max: 31.5 }, status: 'completed' };
  expect(complaints({ exitCode: 0, figures }, { exitCode: 0, output })).toEqual([]);
  expect(complaints({ exitCode: 0, figures: { lost: 0, 'turns.10.ms': { max: 5 } } }, { exitCode: 0, output })).toEqual(
    ['lost is 2, expected 0', 'turns.10.ms is undefined, expected {"max":5}'],
  );
});

test('a sabotage that reports nothing, ends wrongly or is stopped does not pass', () => {
  const expectation = { exitCode: 1, figures: { duplicated: { min: 1 } } };
  expect(complaints(expectation, { exitCode: 1, output })).toEqual(['duplicated is 0, expected {"min":1}']);
  expect(complaints(expectation, { exitCode: 0, output: '{"duplicated":3}' })).toEqual(['ended with 0, expected 1']);
  expect(complaints(expectation, { exitCode: 1, output: 'crashed' })).toEqual([
    expect.stringMatching(/not a JSON object/),
  ]);
  expect(complaints({ exitCode: 0 }, { exitCode: null, output: '' })).toEqual(['was stopped before its end']);
});

test('a suite is played to its end', async () => {
  const suite: Suite = { name: 'a', command: node('console.log("{}"); process.exitCode = 4'), expect: { exitCode: 4 } };
  expect(await play(suite, tmpdir())).toEqual({ exitCode: 4, output: '{}\n' });
  const missing: Suite = { name: 'b', command: ['no-such-command'], expect: { exitCode: 0 } };
  expect(await play(missing, tmpdir())).toEqual({
    exitCode: null,
    output: expect.stringMatching(/could not be started/),
  });
});

test('at its time limit a suite is stopped, with the processes it started', async () => {
  const grandchild = `setInterval(() => {}, 1000)`;
  const script = `const c = require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(grandchild)}]);
    console.log(c.pid); setInterval(() => {}, 1000);`;
  const outcome = await play({ name: 'a', command: node(script), expect: { exitCode: 0 }, minutes: 1 / 60 }, tmpdir());
  expect(outcome.exitCode).toBeNull();
  const pid = Number(outcome.output);
  expect(pid).toBeGreaterThan(0);
  expect(await gone(pid)).toBe(true);
});

// An orphan stays visible until init has reaped it, which may take seconds.
async function gone(pid: number): Promise<boolean> {
  for (let attempt = 0; attempt < 1_000; attempt += 1) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    await delay(20);
  }
  return false;
}

test('a suite that may skip is skipped where it says why, and nowhere else', () => {
  const suite = { name: 's', command: ['x'] as const, expect: { exitCode: 0 }, maySkip: true };
  const outcome = { exitCode: 0, output: '{"skipped":"no data"}\n' };
  expect(skipReason(suite, outcome)).toBe('no data');
  expect(skipReason({ ...suite, maySkip: false }, outcome)).toBeUndefined();
  expect(skipReason(suite, { ...outcome, exitCode: 1 })).toBeUndefined();
  expect(skipReason(suite, { exitCode: 0, output: '{"tasks":1}\n' })).toBeUndefined();
});
