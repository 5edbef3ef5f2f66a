import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { gather, moment, money, pairs, readText, span, statuses, whole } from './input.ts';

test('amounts and spans', () => {
  expect(money('$0.20')).toBe(200_000n);
  expect(() => money('0')).toThrow(/above nothing/);
  expect(() => money('bash.20')).toThrow(/a shell takes an unquoted \$/);
  expect(span('2h')).toBe(7_200_000);
  expect(() => span('2')).toThrow(/span of time/);
});

test('moments are spans before now, or dates', () => {
  expect(Math.abs(Date.now() - 7_200_000 - moment('2h').getTime())).toBeLessThan(5_000);
  expect(moment('2026-11-20T08:00Z').toISOString()).toBe('2026-11-20T08:00:00.000Z');
  for (const bad of ['yesterday', '2026', '2026-13-40']) expect(() => moment(bad)).toThrow(/date/);
});

test('whole numbers keep their bounds', () => {
  const parse = whole(1, 100);
  expect(parse('100')).toBe(100);
  for (const bad of ['0', '101', '1.5', '-1', '', 'x', '1e1']) expect(() => parse(bad)).toThrow(/from 1 to 100/);
});

test('repeated options gather', () => {
  expect(gather('b', gather('a'))).toEqual(['a', 'b']);
  expect(pairs('b=x=y', pairs('a=1'))).toEqual({ a: '1', b: 'x=y' });
  expect(() => pairs('a=2', { a: '1' })).toThrow(/twice/);
  for (const bad of ['a', '=1']) expect(() => pairs(bad)).toThrow(/key=value/);
  expect(pairs('__proto__=x')).toEqual(Object.fromEntries([['__proto__', 'x']]));
  expect(statuses('failed,paused', statuses('queued'))).toEqual([RunStatus.QUEUED, RunStatus.FAILED, RunStatus.PAUSED]);
  expect(() => statuses('done')).toThrow(/awaiting_approval/);
});

test('files that cannot be text are refused with a reason', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'steward-cli-'));
  try {
    const path = join(folder, 'input');
    await writeFile(path, 'Grüße');
    expect(await readText(path)).toBe('Grüße');
    await writeFile(path, Buffer.from([0xff, 0xfe]));
    await expect(readText(path)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await writeFile(path, Buffer.alloc(1_048_577, 'a'));
    await expect(readText(path)).rejects.toThrow(/larger than 1 MiB/);
    await expect(readText(join(folder, 'missing'))).rejects.toThrow(/Cannot read .*missing/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
