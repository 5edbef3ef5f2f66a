import { afterEach, expect, test } from '@jest/globals';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '#gen/grpc/health/v1/health_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { serveRuns } from '#test/support/rpc.ts';
import { type Client, connect } from './client.ts';
import type { ServerOptions } from './server.ts';

const issuer = await testIssuer();
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A client without a token, as a probe is. */
async function probe(health?: ServerOptions['health']): Promise<Client<typeof Health>> {
  const server = await serveRuns(issuer, {}, health === undefined ? {} : { health });
  const connection = connect(Health, { address: server.address });
  cleanups.push(
    () => server.stop(0),
    () => connection.close(),
  );
  return connection.client;
}

test('a server and each of its services serve; others are not known', async () => {
  const client = await probe();
  for (const service of ['', 'steward.run.v1.RunService', 'grpc.health.v1.Health']) {
    expect((await client.check({ service })).status).toBe(Serving.SERVING);
  }
  expect((await stewardErrorOf(client.check({ service: 'steward.guard.v1.GuardService' }))).code).toBe('NOT_FOUND');
});

test('a check that says no, throws or hangs is not serving', async () => {
  const checks: readonly NonNullable<ServerOptions['health']>[] = [
    () => false,
    async () => false,
    () => {
      throw new Error('no database');
    },
    () => Promise.reject(new Error('no database')),
    () => new Promise<boolean>(() => {}),
  ];
  const answers = await Promise.all(checks.map(async (check) => (await (await probe(check)).check({})).status));
  expect(answers).toEqual(checks.map(() => Serving.NOT_SERVING));
});

test('a watcher hears every change', async () => {
  let healthy = true;
  const client = await probe(() => healthy);
  const seen: Serving[] = [];
  for await (const { status } of client.watch({})) {
    seen.push(status);
    healthy = !healthy;
    if (seen.length === 3) break;
  }
  expect(seen).toEqual([Serving.SERVING, Serving.NOT_SERVING, Serving.SERVING]);
  for await (const { status } of client.watch({ service: 'none' })) {
    expect(status).toBe(Serving.SERVICE_UNKNOWN);
    break;
  }
});
