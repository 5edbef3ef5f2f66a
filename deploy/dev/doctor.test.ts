import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { doctor, type Finding } from './doctor.ts';
import { makeTestHome, type TestHome } from './fixtures/home.ts';
import { runParent } from './fixtures/run-parent.ts';
import { findPostmaster } from './postgres-pidfile.ts';
import { endProcess } from './process-table.ts';

let home: TestHome;
beforeAll(async () => {
  home = await makeTestHome();
});
afterAll(() => home.remove());

const called = (findings: readonly Finding[], name: string) => findings.find((finding) => finding.name === name);

test('finds a sound machine sound, and says where each piece comes from', async () => {
  const findings = await doctor({ env: home.env });
  const sound = ['node', 'packages', 'data directory', 'disk space', 'postgres', 'go', 'model provider'];
  for (const name of sound) expect(called(findings, name)).toMatchObject({ ok: true, fix: '' });
  expect(called(findings, 'temporal')?.detail).not.toBe('');
  expect(called(findings, 'port of Postgres')).toMatchObject({ ok: true, detail: expect.stringMatching(/is free/) });
  expect(called(findings, 'model provider')?.detail).toMatch(/offline model/);
});

test('says what is wrong and what to do about it', async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  const env = {
    ...home.env,
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
    STEWARD_TEMPORAL_PORT: String(port),
    PATH: join(home.paths.home, 'nothing'),
    STEWARD_CACHE: join(home.paths.home, 'cache'),
  };
  const findings = await doctor({ env, ports: [{ what: 'run-api', variable: 'RUN_API_PORT', fallback: port }] });
  await new Promise((done) => server.close(done));
  const fix = (pattern: RegExp) => ({ ok: false, fix: expect.stringMatching(pattern) });
  expect(called(findings, 'postgres')).toMatchObject(fix(/Correct DATABASE_URL/));
  expect(called(findings, 'temporal')).toMatchObject(fix(/Install the Temporal CLI/));
  expect(called(findings, 'port of the Temporal server')).toMatchObject(fix(/STEWARD_TEMPORAL_PORT/));
  expect(called(findings, 'port of run-api')).toMatchObject(fix(/RUN_API_PORT/));
  expect(called(findings, 'go')).toMatchObject({ ok: true, detail: expect.stringMatching(/not installed/) });
});

test('a port that a killed launcher still holds is no fault', async () => {
  const parent = await runParent('postgres', home.env);
  await parent.kill();
  const finding = called(await doctor({ env: home.env }), 'port of Postgres');
  expect(finding).toMatchObject({ ok: true, detail: expect.stringMatching(/left postgres behind/) });
  const left = findPostmaster(join(home.paths.postgres, 'data'));
  expect(left?.pid).toBe(parent.pid);
  if (left !== undefined) await endProcess(left, [{ signal: 'SIGINT', waitMs: 10_000 }]);
});
