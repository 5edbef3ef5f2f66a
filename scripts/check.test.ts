import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { runCommand } from '#scripts/check-kit.ts';

const repository = join(import.meta.dirname, '..');

test('one check can be run by a part of its name, and the last line has the counts', async () => {
  const { status, stdout } = await runCommand(repository, 'node', ['scripts/check.ts', 'tests all']);
  expect(stdout).toMatch(/^ok {4}tests all run +\d+\.\d s\n/);
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('1 passed, 0 failed, 0 skipped');
  expect(status).toBe(0);
});

test('a name that fits no check is an error, not a green run', async () => {
  const { status, stderr } = await runCommand(repository, 'node', ['scripts/check.ts', 'nonsense']);
  expect(status).toBe(1);
  expect(stderr).toMatch(/no check is called nonsense/);
});

test('a command that is too slow or cannot be started is told apart from one that fails', async () => {
  expect(await runCommand(repository, 'node', ['-e', 'process.exit(3)'])).toMatchObject({ status: 3 });
  const slow = await runCommand(repository, 'node', ['-e', 'setInterval(() => {}, 1000)'], 200);
  expect(slow).toMatchObject({ status: null, stderr: expect.stringMatching(/killed after 200 ms/) });
  await expect(runCommand(repository, 'no-such-tool', [])).rejects.toThrow(/could not be started/);
});
