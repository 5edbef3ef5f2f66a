import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { withRepository } from '#test/support/repository.ts';

interface Run {
  status: number | null;
  lines: string[];
  seconds: number;
}

/**
 * Plays the real .ci/run, with the real npm, in a package without dependencies whose scripts are these; sends it SIGTERM
 * when it has printed the line `stopAt`.
 */
async function ciRun(scripts: Record<string, string>, stopAt?: string): Promise<Run> {
  const manifest = { name: 'trial', version: '1.0.0', private: true, scripts };
  const lock = {
    name: 'trial',
    version: '1.0.0',
    lockfileVersion: 3,
    packages: { '': { name: 'trial', version: '1.0.0' } },
  };
  const files = { 'package.json': JSON.stringify(manifest), 'package-lock.json': JSON.stringify(lock) };
  let result: Run | undefined;
  await withRepository(files, async (root) => {
    mkdirSync(join(root, '.ci'));
    copyFileSync(join(import.meta.dirname, '..', '.ci', 'run'), join(root, '.ci', 'run'));
    const started = performance.now();
    const child = spawn(join(root, '.ci', 'run'), {
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 50_000,
      killSignal: 'SIGKILL',
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      if (stopAt !== undefined && output.includes(`\n${stopAt}\n`)) child.kill('SIGTERM');
    });
    const [status] = (await once(child, 'close')) as [number | null];
    const seconds = (performance.now() - started) / 1000;
    result = { status, lines: output.trimEnd().split('\n'), seconds };
  });
  if (result === undefined) throw new Error('.ci/run was not played');
  return result;
}

const green = {
  test: `echo '10 passed, 0 failed, 2 skipped'`,
  check: `echo '5 passed, 0 failed, 0 skipped'`,
  'ci:suites': `echo '3 passed, 0 failed, 0 skipped'`,
};

test('all phases are added up, and green is 0', async () => {
  const { status, lines } = await ciRun(green);
  expect(lines.at(-1)).toBe('18 passed, 0 failed, 2 skipped');
  expect(status).toBe(0);
});

test('what fails is counted once and hides nothing after it', async () => {
  const { status, lines } = await ciRun({
    test: `echo '8 passed, 2 failed, 0 skipped'; exit 1`,
    check: 'echo out of order; exit 3',
    'ci:suites': `echo 'no counts'`,
  });
  expect(lines.at(-1)).toBe('8 passed, 4 failed, 0 skipped');
  expect(status).toBe(1);
});

test('without an installation nothing is played', async () => {
  const { status, lines } = await ciRun({ ...green, install: 'exit 7' });
  expect(lines.at(-1)).toBe('0 passed, 1 failed, 0 skipped');
  expect(lines.join('\n')).not.toMatch(/=== tests/);
  expect(status).toBe(1);
});

test('a process that is left behind keeps nothing waiting and is ended', async () => {
  const { status, lines, seconds } = await ciRun({ ...green, test: `sleep 45 & ${green.test}` });
  expect(lines).toContain('tests left processes behind; they were ended');
  expect(seconds).toBeLessThan(40);
  expect(status).toBe(0);
});

test('stopped from outside it ends at once and takes its phase along', async () => {
  const { status, lines, seconds } = await ciRun({ ...green, test: 'echo begun; sleep 45' }, 'begun');
  expect(status).toBe(143);
  expect(lines.at(-1)).toBe('begun');
  expect(seconds).toBeLessThan(30);
});
