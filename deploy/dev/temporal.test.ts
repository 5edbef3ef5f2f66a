import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import { parse } from 'yaml';
import { skipUnless } from '#test/support/skip.ts';
import { makeTestHome, type TestHome } from './fixtures/home.ts';
import { runParent } from './fixtures/run-parent.ts';
import { testTemporal } from './fixtures/temporal.ts';
import { REPOSITORY } from './paths.ts';
import { isRunning, readRecord } from './process-table.ts';
import { stopLeftovers } from './processes.ts';
import { type RunningTemporal, startTemporal } from './temporal.ts';
import type { TemporalSource } from './temporal-binary.ts';
import { readTemporalDev, serverArguments, type TemporalDev } from './temporal-config.ts';

const { source: found, reason } = await testTemporal();
const withTemporal = skipUnless(`needs a Temporal to run: ${reason}`, found !== undefined);

let home: TestHome;
let dev: TemporalDev;
beforeAll(async () => {
  home = await makeTestHome();
  dev = await readTemporalDev();
});
afterAll(async () => {
  await stopLeftovers(home.paths);
  await home.remove();
});

const start = (more: Partial<TestHome & { source: TemporalSource; dev: TemporalDev }> = {}) =>
  startTemporal({ ...home, dev, source: found as TemporalSource, ...more });

async function withClient<T>(at: RunningTemporal, work: (client: Client, connection: Connection) => Promise<T>) {
  const connection = await Connection.connect({ address: at.address, connectTimeout: 5_000 });
  try {
    return await work(new Client({ connection, namespace: at.namespace }), connection);
  } finally {
    await connection.close();
  }
}

test('the compose file runs the very server that the launcher runs', async () => {
  const document = parse(await readFile(join(REPOSITORY, 'temporal-dev.yml'), 'utf8')) as {
    services: { temporal: { command: string[]; image: string; ports: string[] } };
  };
  const { command, image, ports } = document.services.temporal;
  const place = { ip: '0.0.0.0', ...dev.ports, database: '/home/temporal/temporal.db' };
  expect(command).toEqual(serverArguments(dev, place));
  expect(image).toBe(`temporalio/temporal:${dev.cli}`);
  expect(ports).toEqual([dev.ports.grpc, dev.ports.ui].map((port) => `127.0.0.1:${port}:${port}`));
});

withTemporal('serves namespace, search attributes and Web UI, and keeps runs over a restart', async () => {
  const first = await start();
  expect(first.address).toBe(`127.0.0.1:${home.env.STEWARD_TEMPORAL_PORT}`);
  expect((await fetch(`${first.uiUrl}/namespaces/${first.namespace}/workflows`)).status).toBe(200);
  await withClient(first, async (client, connection) => {
    const { config } = await connection.workflowService.describeNamespace({ namespace: first.namespace });
    expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(7 * 86_400);
    await client.workflow.start('nobody-runs-this', {
      taskQueue: 'nobody',
      workflowId: 'kept',
      searchAttributes: { Tenant: ['acme'], ToolsUsed: ['a', 'b'], CostMicroUsd: [12], AwaitingSince: [new Date()] },
    });
  });
  await first.stop();
  await first.stop();

  const began = Date.now();
  const second = await start();
  expect(Date.now() - began).toBeLessThan(3_000);
  await withClient(second, async (client) => {
    const kept = await client.workflow.getHandle('kept').describe();
    expect(kept.status.name).toBe('RUNNING');
    expect(kept.searchAttributes).toMatchObject({ Tenant: ['acme'], CostMicroUsd: [12] });
    const query = "Tenant = 'acme' AND CostMicroUsd > 10 AND ToolsUsed = 'b' AND AwaitingSince IS NOT NULL";
    expect((await client.workflow.count(query)).count).toBe(1);
    await client.workflow.getHandle('kept').terminate();
  });
  await second.stop();
});

withTemporal('replaces the server of a killed launcher', async () => {
  const parent = await runParent('temporal', home.env);
  const left = readRecord(home.paths.run, 'temporal');
  await parent.kill();
  expect(left).toMatchObject({ pid: parent.pid });
  if (left !== undefined) expect(isRunning(left)).toBe(true);
  const next = await start();
  if (left !== undefined) expect(isRunning(left)).toBe(false);
  await next.stop();
});

withTemporal('uses an external one: makes what is missing, repeats without harm, names a wrong type', async () => {
  const server = await start();
  const source = { kind: 'external', address: server.address } as const;
  const env = { ...home.env, TEMPORAL_NAMESPACE: 'elsewhere' };
  for (const _ of [1, 2]) {
    const external = await start({ source, env });
    expect(external).toMatchObject({ source: 'external', namespace: 'elsewhere', uiUrl: expect.anything() });
    await external.stop();
  }
  const other = { ...dev, searchAttributes: { ...dev.searchAttributes, Tenant: 'Int', Added: 'Bool' } } as const;
  await expect(start({ source, env, dev: other })).rejects.toThrow(/search attribute Tenant is Keyword, not Int/);
  const added = { ...dev, searchAttributes: { ...dev.searchAttributes, Added: 'Bool' } } as const;
  await start({ source, env, dev: added });
  await withClient(server, async (_, connection) => {
    const listed = await connection.operatorService.listSearchAttributes({ namespace: 'elsewhere' });
    expect(Object.keys(listed.customAttributes).sort()).toEqual([...Object.keys(dev.searchAttributes), 'Added'].sort());
  });
  await server.stop();
  await expect(start({ source })).rejects.toThrow(new RegExp(`No Temporal answers at ${server.address}`));
});

withTemporal('names a taken port', async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  const env = { ...home.env, STEWARD_TEMPORAL_UI_PORT: String(port) };
  await expect(start({ env })).rejects.toThrow(new RegExp(`Port ${port}, wanted for the Temporal Web UI.*_UI_PORT`));
  await new Promise((done) => server.close(done));
});
