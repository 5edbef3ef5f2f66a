import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { makeTestHome, type TestHome } from './fixtures/home.ts';
import { runParent } from './fixtures/run-parent.ts';
import { findProcess, isRunning, readRecord, whenGone, writeRecord } from './process-table.ts';
import { startCommand, startService, stopLeftovers } from './processes.ts';

const entry = join(import.meta.dirname, 'fixtures', 'service.ts');

let home: TestHome;
beforeAll(async () => {
  home = await makeTestHome();
});
afterAll(() => home.remove());

function living(pid: number) {
  const found = findProcess(pid);
  if (found === undefined) throw new Error(`Process ${pid} is gone.`);
  return found;
}

test('a service is up when it says so, and gone when it was stopped', async () => {
  const spec = { name: 'good', entry, args: ['ready'], env: { TEST_WORD: 'hello' } };
  const service = await startService(home.paths, spec);
  expect(service.ready).toEqual({ address: '127.0.0.1:1', word: 'hello' });
  const ref = living(service.pid);
  expect(readRecord(home.paths.run, 'good')).toMatchObject(ref);
  await service.stop();
  await service.stop();
  expect(isRunning(ref)).toBe(false);
  expect(await service.exited).toEqual({ code: null, signal: 'SIGTERM' });
  expect(readRecord(home.paths.run, 'good')).toBeUndefined();
  expect(await readFile(service.logFile, 'utf8')).toContain('loading');
});

test('a service that ends early is reported with its last 20 lines', async () => {
  const start = startService(home.paths, { name: 'chatty', entry, args: ['chatty'] });
  await expect(start).rejects.toThrow(/chatty ended with code 3.*\nline 11\n.*line 30\nLog: .*chatty\.log/s);
  await expect(start).rejects.not.toThrow(/line 10\n/);
});

test('a service that stays silent is stopped at its deadline', async () => {
  const start = startService(home.paths, { name: 'silent', entry, args: ['silent'], readyMs: 300 });
  await expect(start).rejects.toThrow(/silent did not serve within 0.3 s/);
  expect(readRecord(home.paths.run, 'silent')).toBeUndefined();
});

test('a start can be cancelled', async () => {
  const signal = AbortSignal.timeout(300);
  const start = startService(home.paths, { name: 'cancelled', entry, args: ['silent'], signal });
  await expect(start).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(readRecord(home.paths.run, 'cancelled')).toBeUndefined();
});

test('a service that ignores SIGTERM is killed after its grace', async () => {
  const service = await startService(home.paths, { name: 'stubborn', entry, args: ['stubborn'], graceMs: 200 });
  await service.stop();
  expect(await service.exited).toEqual({ code: null, signal: 'SIGKILL' });
});

test('a program that cannot be run is named', async () => {
  const start = startCommand(home.paths, { name: 'absent', command: '/no/such/program', args: [], env: {} });
  await expect(start).rejects.toThrow(/absent cannot be run \(\/no\/such\/program\)/);
});

test('a service ends by itself when its launcher is killed', async () => {
  const parent = await runParent('service', home.env);
  const ref = living(parent.pid);
  await parent.kill();
  await whenGone(ref, 20);
});

test('what a killed launcher left running is found and stopped', async () => {
  const parent = await runParent('command', home.env);
  const ref = living(parent.pid);
  await parent.kill();
  expect(isRunning(ref)).toBe(true);
  expect(await stopLeftovers(home.paths)).toEqual(['orphan']);
  expect(isRunning(ref)).toBe(false);
  expect(await stopLeftovers(home.paths)).toEqual([]);
});

test('a process that was given a recorded pid later is left alone', async () => {
  const stranger = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], { stdio: 'ignore' });
  const ref = living(stranger.pid as number);
  try {
    writeRecord(home.paths.run, { name: 'recycled', pid: ref.pid, identity: `${ref.identity}-earlier` });
    expect(await stopLeftovers(home.paths)).toEqual([]);
    expect(isRunning(ref)).toBe(true);
  } finally {
    stranger.kill('SIGKILL');
  }
});
