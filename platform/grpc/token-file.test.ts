import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { stewardErrorOf } from '#test/support/errors.ts';
import { tokenFromFile } from './token-file.ts';

const directory = await mkdtemp(join(tmpdir(), 'steward-token-'));
afterAll(() => rm(directory, { recursive: true, force: true }));

test('a token is kept for ten seconds, then read again', async () => {
  const path = join(directory, 'token');
  let now = 0;
  const token = tokenFromFile(path, () => now);
  await writeFile(path, 'first\n');
  expect(await token()).toBe('first');
  await writeFile(path, 'second');
  now = 9_999;
  expect(await token()).toBe('first');
  now = 10_000;
  expect(await token()).toBe('second');
});

test('a file that is missing or empty is named, and tried again at the next call', async () => {
  const path = join(directory, 'late');
  const token = tokenFromFile(path);
  expect(await stewardErrorOf(token())).toMatchObject({
    code: 'TOKEN_MISSING',
    message: expect.stringContaining(path),
  });
  await writeFile(path, ' \n');
  expect((await stewardErrorOf(token())).code).toBe('TOKEN_MISSING');
  await writeFile(path, 'here');
  expect(await token()).toBe('here');
});
