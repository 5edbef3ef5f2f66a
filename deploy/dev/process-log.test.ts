import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { startFailure } from './process-log.ts';

test('a service that did not come up is told to a person, not as JSON', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'steward-log-'));
  const logFile = join(directory, 'guard.log');
  const err = { type: 'StewardError', message: 'The key cannot be read.', cause: { message: 'no such file' } };
  const lines = [
    'words of an earlier start',
    'loading',
    JSON.stringify({ level: 'warn', service: 'guard', msg: 'could not notify', err: { message: 'it is away' } }),
    JSON.stringify({ level: 'fatal', service: 'guard', msg: 'could not go on', err }),
    '{"no": "line of ours"}',
    '{ broken',
  ];
  await writeFile(logFile, `${lines.join('\n')}\n`);
  const logStart = (lines[0]?.length ?? 0) + 1;
  const { message } = startFailure({ name: 'guard', logFile, logStart }, 'ended with code 1');
  expect(message.split('\n')).toEqual([
    'guard ended with code 1. Its last lines:',
    'loading',
    'warn: could not notify: it is away',
    'fatal: could not go on: The key cannot be read.: no such file',
    '{"no": "line of ours"}',
    '{ broken',
    `Log: ${logFile}`,
  ]);
  await rm(directory, { recursive: true });
});
