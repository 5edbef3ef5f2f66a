import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import { packClient } from '#scripts/pack-client.ts';
import { BEN, DESK, OLGA, type TestStack, testStack } from '#test/support/stack.ts';

const run = promisify(execFile);
let s: TestStack;
let folder: string;

beforeAll(async () => {
  s = await testStack();
  folder = await mkdtemp(join(tmpdir(), 'steward-guide-'));
  const yaml = await readFile(join(REPOSITORY, 'agents/release-closer.yaml'), 'utf8');
  await s.as(OLGA).admin.applyAgent({ yaml });
}, 180_000);
afterAll(async () => {
  await s?.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

test('the TypeScript guide, from an empty folder: a packed client starts, watches, decides and reads', async () => {
  const guide = await readFile(join(REPOSITORY, 'docs/guides/product-services-typescript.md'), 'utf8');
  const script = /```js\n(.*?)```/s.exec(guide)?.[1] ?? '';
  const client = await packClient(folder);
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  await run('npm', ['install', '--no-audit', '--no-fund', client], { cwd: folder, timeout: 120_000 });
  await writeFile(join(folder, 'close-out.mjs'), script);
  const tokens = { SERVICE_TOKEN: join(folder, 'service.token'), APPROVER_TOKEN: join(folder, 'approver.token') };
  await writeFile(tokens.SERVICE_TOKEN, await s.token(DESK));
  await writeFile(tokens.APPROVER_TOKEN, await s.token(BEN));
  const addresses = {
    STEWARD_ADDRESS: s.stack.environment.runApi,
    STEWARD_GUARD_ADDRESS: s.stack.environment.guard,
  };
  const again = async () => {
    const env = { PATH: process.env.PATH, REQUEST_ID: 'guide-1', ...tokens, ...addresses };
    return (await run(process.execPath, ['close-out.mjs'], { cwd: folder, env, timeout: 60_000 })).stdout;
  };
  const first = await again();
  expect(first).toMatch(/^run \w+\n1 run\.created\n[\s\S]*run\.closed\nCOMPLETED: /);
  expect(first).toMatch(/delete_task: .*approved by ben@acme\.example, can be undone/);
  // The same request id: the same run, and nothing is done twice.
  const second = await again();
  expect(second.split('\n')[0]).toBe(first.split('\n')[0]);
  expect(second).toMatch(/COMPLETED: /);
}, 240_000);
