import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { expect, test } from '@jest/globals';
import { traceIdOf } from './trace.ts';

/** What a process with this code writes on stderr. */
async function linesOf(code: string, env: Record<string, string> = {}): Promise<Record<string, unknown>[]> {
  const url = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
  const source = `
    const { createLog } = await import(${url('./log.ts')});
    const { withIds, noteIds, underIds } = await import(${url('./ids.ts')});
    const { runService } = await import(${url('../config/process.ts')});
    ${code}`;
  const args = ['--input-type=module', '--eval', source];
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env } });
  child.stdout.resume();
  const said = await text(child.stderr);
  return said
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('a line has the ids of the work it is written in, and the trace of its run', async () => {
  const lines = await linesOf(`
    const log = createLog('guard', 'info');
    await withIds({ tenant: 'acme', run: 'r1' }, async () => {
      await null;
      noteIds({ call: '3.1' });
      log.info({ code: 'KILLED' }, 'inside');
      log.info({ run: 'r2' }, 'about another');
      log.debug({}, 'not at this level');
    });
    withIds({ run: 'r1', trace: 'f'.repeat(32) }, () => log.warn({}, 'traced by the caller'));
    noteIds({ run: 'nowhere' });
    log.error({}, 'outside');`);
  expect(lines).toEqual([
    expect.objectContaining({ level: 'info', tenant: 'acme', run: 'r1', call: '3.1', trace: traceIdOf('r1') }),
    expect.objectContaining({ msg: 'about another', run: 'r2', trace: traceIdOf('r2') }),
    expect.objectContaining({ level: 'warn', trace: 'f'.repeat(32) }),
    { level: 'error', time: expect.any(String), service: 'guard', msg: 'outside' },
  ]);
});

test('errors keep their causes apart, and secrets of the environment are nobody’s business', async () => {
  const [line] = await linesOf(
    `createLog('guard', 'info').error({ err: new Error('outer', { cause: new Error('with pa55word-of-all') }) }, 'failed');`,
    { DB_PASSWORD: 'pa55word-of-all' },
  );
  expect(line?.err).toMatchObject({ message: 'outer', cause: { message: 'with [secret]' } });
});

test('what ends a process is told in JSON, whatever the level, and so are warnings of Node', async () => {
  const lines = await linesOf(`
    createLog('guard', 'silent');
    await runService(async () => { throw new Error('no key'); });`);
  expect(lines).toEqual([
    expect.objectContaining({ level: 'fatal', err: expect.objectContaining({ message: 'no key' }) }),
  ]);
  const more = await linesOf(`
    createLog('guard', 'info');
    await runService(async () => {
      process.emitWarning('old ways');
      setTimeout(() => { throw new Error('in a timer'); }, 5);
      return async () => undefined;
    });`);
  expect(more.map(({ level, msg }) => [level, msg])).toEqual([
    ['warn', 'a warning of Node'],
    ['fatal', 'an error nobody caught'],
  ]);
});
