import { once } from 'node:events';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, expect, test } from '@jest/globals';
import { Status } from 'nice-grpc';
import { GetRunRequestSchema, RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { codeIn, rawCall, serveRuns } from '#test/support/rpc.ts';
import { type Client, connect } from './client.ts';
import type { RunningServer } from './server.ts';

const issuer = await testIssuer();
const GET_RUN = '/steward.run.v1.RunService/GetRun';
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(...args: Parameters<typeof serveRuns> extends [unknown, ...infer R] ? R : never) {
  const server = await serveRuns(issuer, ...args);
  cleanups.push(() => server.stop(0));
  return server;
}

function clientOf(server: RunningServer, token = () => issuer.token()): Client<typeof RunService> {
  const connection = connect(RunService, { address: server.address, token });
  cleanups.push(() => connection.close());
  return connection.client;
}

const getRun = (runId: string): Uint8Array => toBinary(GetRunRequestSchema, create(GetRunRequestSchema, { runId }));

async function authorized(): Promise<{ readonly authorization: string }> {
  return { authorization: `Bearer ${await issuer.token()}` };
}

test("a caller's deadline ends the call and aborts the handler's signal", async () => {
  const reason = Promise.withResolvers<unknown>();
  const server = await serve({
    async getRun(ctx) {
      await once(ctx.signal, 'abort');
      reason.resolve(ctx.signal.reason);
      return {};
    },
  });
  const error = await stewardErrorOf(clientOf(server).getRun({}, { deadlineMs: 100 }));
  expect(error.code).toBe('DEADLINE');
  await expect(reason.promise).resolves.toMatchObject({ code: expect.stringMatching(/^(DEADLINE|CANCELLED)$/) });
});

test('a handler that ignores its deadline does not hold up the answer', async () => {
  const never = Promise.withResolvers<object>();
  const server = await serve({ getRun: () => never.promise });
  const headers = { ...(await authorized()), 'grpc-timeout': '100m' };
  const answer = await rawCall(server.address, GET_RUN, getRun(''), headers);
  expect(answer.code).toBe(Status.DEADLINE_EXCEEDED);
  expect(codeIn(answer)).toBe('DEADLINE');
  never.reject(new Error('late, and nobody minds'));
});

test('a call without a deadline gets one', async () => {
  let deadline: Date | undefined;
  const server = await serve({
    async getRun(ctx) {
      deadline = ctx.deadline;
      return {};
    },
  });
  const headers = await authorized();
  const secondsGiven = async (timeout: Record<string, string>): Promise<number> => {
    await rawCall(server.address, GET_RUN, getRun(''), { ...headers, ...timeout });
    return Math.round(((deadline?.getTime() ?? 0) - Date.now()) / 1_000);
  };
  expect(await secondsGiven({})).toBe(30);
  expect(await secondsGiven({ 'steward-deadline-ms': '1' })).toBe(30);
  expect(await secondsGiven({ 'grpc-timeout': '10S' })).toBe(10);
  expect(await secondsGiven({ 'grpc-timeout': '24H' })).toBe(3_600);
});

test("a caller that cancels is told to the handler's signal", async () => {
  const started = Promise.withResolvers<void>();
  const reason = Promise.withResolvers<unknown>();
  const server = await serve({
    async getRun(ctx) {
      started.resolve();
      await once(ctx.signal, 'abort');
      reason.resolve(ctx.signal.reason);
      ctx.signal.throwIfAborted();
      return {};
    },
  });
  const abort = new AbortController();
  const call = stewardErrorOf(clientOf(server).getRun({}, { signal: abort.signal }));
  await started.promise;
  abort.abort();
  expect((await call).code).toBe('CANCELLED');
  await expect(reason.promise).resolves.toMatchObject({ code: 'CANCELLED' });
});
