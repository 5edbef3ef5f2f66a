import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { countsOf, describeSkip, formatCounts } from '#scripts/jest-reporter.ts';

const repository = join(import.meta.dirname, '..');

/** Runs jest over the given test files with the real configuration; inside the repository, so that modules resolve. */
function runJest(files: Record<string, string>): { status: number | null; stdout: string } {
  mkdirSync(join(repository, '.cache'), { recursive: true });
  const directory = mkdtempSync(join(repository, '.cache', 'reporter-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const reporter = join(repository, 'scripts', 'jest-reporter.ts');
    const run = spawnSync(
      process.execPath,
      [
        '--experimental-vm-modules',
        join(repository, 'node_modules/jest/bin/jest.js'),
        `--config=${join(repository, 'jest.config.js')}`,
        `--rootDir=${directory}`,
        '--reporters=default',
        `--reporters=${reporter}`,
      ],
      { cwd: directory, encoding: 'utf8', timeout: 30_000 },
    );
    return { status: run.status, stdout: run.stdout };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) ?? '';

test('a suite that cannot run counts as one failure', () => {
  const counts = countsOf({
    numPassedTests: 4,
    numFailedTests: 2,
    numPendingTests: 1,
    numTodoTests: 1,
    numRuntimeErrorTestSuites: 3,
  });
  expect(formatCounts(counts)).toBe('4 passed, 5 failed, 2 skipped');
});

test('a skip names its reason, also when there is none', () => {
  expect(describeSkip('a [b] c [skipped: needs [Go]]')).toBe('SKIPPED a [b] c: needs [Go]');
  expect(describeSkip('plain')).toBe('SKIPPED plain: no reason given');
});

test('files that do not compile, have no test or fail afterwards make the run red and are counted', () => {
  const run = runJest({
    'broken.test.ts': 'const a: = 1;',
    'empty.test.ts': 'export const a = 1;',
    'after.test.ts': `import { afterAll, test } from '@jest/globals';
      test('ok', () => {}); afterAll(() => { throw new Error('late'); });`,
    'skipped.test.ts': `import { skipUnless } from '#test/support/skip.ts';
      skipUnless('no engine', false)('starts', () => { throw new Error('ran'); });
      skipUnless('no engine', true)('runs', () => {});`,
  });
  expect(run.status).toBe(1);
  expect(run.stdout).toContain('SKIPPED starts: no engine\n');
  expect(lastLine(run.stdout)).toBe('2 passed, 3 failed, 1 skipped');
});

test('a green run exits with 0 and ends with its counts', () => {
  const run = runJest({ 'fine.test.ts': `import { test } from '@jest/globals'; test('ok', () => {});` });
  expect(run.status).toBe(0);
  expect(lastLine(run.stdout)).toBe('1 passed, 0 failed, 0 skipped');
});
