import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { FOLDER_VARIABLE } from './points.ts';
import { type Control, openControl, Probe } from './probe.ts';

let folder: string;
let control: Control;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'steward-probe-'));
  control = openControl(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('what a process is at can be read while it lasts', async () => {
  const probe = new Probe('guard', folder);
  const going = Promise.withResolvers<void>();
  const work = probe.during({ what: 'judge', run: 'r1' }, () => going.promise);
  expect(control.snapshot('guard')).toEqual({ pid: process.pid, work: [{ what: 'judge', run: 'r1' }] });
  going.reject(new Error('failed'));
  await expect(work).rejects.toThrow('failed');
  expect(control.snapshot('guard').work).toEqual([]);
});

test('an armed point is taken once, and leaves a note', () => {
  const probe = new Probe('projects', folder);
  expect(probe.take('late', 'create_task')).toBe(false);
  control.arm('projects', 'late');
  expect(probe.take('late', 'create_task')).toBe(true);
  expect(probe.take('late', 'create_task')).toBe(false);
  expect(control.disarm('projects', 'late')).toBe(false);
  expect(control.notes()).toMatchObject([{ target: 'projects', point: 'late', what: 'create_task', pid: process.pid }]);
});

test('a point that was disarmed is not taken', () => {
  const probe = new Probe('guard', folder);
  control.arm('guard', 'after-judge');
  expect(control.disarm('guard', 'after-judge')).toBe(true);
  expect(probe.take('after-judge', 'judge')).toBe(false);
});

test('a process dies at its point, and what it was at stands in the note', async () => {
  control.arm('worker', 'after-effect');
  const probe = join(import.meta.dirname, 'probe.ts');
  const code = `const { Probe } = await import(${JSON.stringify(probe)});
    const probe = new Probe('worker');
    await probe.during({ what: 'execute', run: 'r1' }, async () => probe.dieAt('after-effect', 'create_task'));
    process.exit(3);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    env: { ...process.env, NODE_OPTIONS: '', [FOLDER_VARIABLE]: folder },
    stdio: 'inherit',
  });
  const [status, signal] = await once(child, 'exit');
  expect([status, signal]).toEqual([null, 'SIGKILL']);
  expect(control.notes()).toMatchObject([{ point: 'after-effect', pid: child.pid, work: [{ run: 'r1' }] }]);
});
