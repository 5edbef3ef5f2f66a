import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import { StewardError } from '#domain/errors.ts';
import { RunService, type WatchRunResponse } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { serveRuns } from '#test/support/rpc.ts';
import type { Handlers } from './bind.ts';
import { type Client, connect } from './client.ts';
import type { RunningServer } from './server.ts';

type WatchRun = Handlers<typeof RunService>['watchRun'];

const issuer = await testIssuer();
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function watching(watchRun: WatchRun): Promise<readonly [RunningServer, Client<typeof RunService>]> {
  const server = await serveRuns(issuer, { watchRun });
  const connection = connect(RunService, { address: server.address, token: () => issuer.token() });
  cleanups.push(
    () => server.stop(0),
    () => connection.close(),
  );
  return [server, connection.client];
}

const event = (sequence: number) => ({
  item: { case: 'event' as const, value: { sequence: BigInt(sequence), kind: 'tool.started' } },
});

const sequenceOf = (answer: WatchRunResponse): number =>
  answer.item.case === 'event' ? Number(answer.item.value.sequence) : -1;

test('all answers of a stream arrive in order, also many more than buffers hold', async () => {
  const [, client] = await watching(async function* (_ctx, request) {
    for (let sequence = Number(request.afterSequence) + 1; sequence <= 5_000; sequence += 1) {
      yield { item: { case: 'event', value: { sequence: BigInt(sequence), data: { text: 'x'.repeat(200) } } } };
    }
  });
  const seen: number[] = [];
  for await (const answer of client.watchRun({ runId: 'r', afterSequence: 10n })) seen.push(sequenceOf(answer));
  expect(seen).toEqual(Array.from({ length: 4_990 }, (_, index) => index + 11));
});

test('a stream that fails midway gives what came before, then its error', async () => {
  const [, client] = await watching(async function* () {
    yield event(1);
    throw new StewardError('KILLED', 'stopped by an operator', { details: { scope: 'tenant' } });
  });
  const seen: number[] = [];
  const read = async (): Promise<void> => {
    for await (const answer of client.watchRun({})) seen.push(sequenceOf(answer));
  };
  expect(await stewardErrorOf(read())).toMatchObject({ code: 'KILLED', details: { scope: 'tenant' } });
  expect(seen).toEqual([1]);
});

test('roles and contents are checked before a stream starts', async () => {
  const [server] = await watching(async function* () {
    yield event(1);
  });
  const connection = connect(RunService, { address: server.address, token: () => issuer.token({ roles: ['user'] }) });
  cleanups.push(() => connection.close());
  const read = async (): Promise<void> => {
    for await (const _ of connection.client.watchRun({})) throw new Error('nothing should come');
  };
  expect((await stewardErrorOf(read())).code).toBe('ROLE_MISSING');
});

test('an answer over the limit ends the stream', async () => {
  const [, client] = await watching(async function* () {
    yield event(1);
    yield { item: { case: 'textDelta', value: { text: 'x'.repeat(2_000_000) } } };
  });
  const seen: number[] = [];
  const read = async (): Promise<void> => {
    for await (const answer of client.watchRun({})) seen.push(sequenceOf(answer));
  };
  expect((await stewardErrorOf(read())).code).toBe('TOO_LARGE');
  expect(seen).toEqual([1]);
});

test('a reader that leaves ends the handler, and its cleanup runs', async () => {
  const aborted = Promise.withResolvers<unknown>();
  const cleaned = Promise.withResolvers<void>();
  const [, client] = await watching(async function* (ctx) {
    try {
      yield event(1);
      await once(ctx.signal, 'abort');
      aborted.resolve(ctx.signal.reason);
      ctx.signal.throwIfAborted();
    } finally {
      cleaned.resolve();
    }
  });
  for await (const answer of client.watchRun({})) {
    expect(sequenceOf(answer)).toBe(1);
    break;
  }
  await expect(aborted.promise).resolves.toMatchObject({ code: 'CANCELLED' });
  await cleaned.promise;
});

test('a reader can cancel by signal, or by its deadline', async () => {
  const [, client] = await watching(async function* (ctx) {
    yield event(1);
    await once(ctx.signal, 'abort');
  });
  const abort = new AbortController();
  const read = async (options: { signal?: AbortSignal; deadlineMs?: number }): Promise<void> => {
    for await (const _ of client.watchRun({}, options)) abort.abort();
  };
  expect((await stewardErrorOf(read({ signal: abort.signal }))).code).toBe('CANCELLED');
  expect((await stewardErrorOf(read({ signal: abort.signal }))).code).toBe('CANCELLED');
  expect((await stewardErrorOf(read({ deadlineMs: 100 }))).code).toBe('DEADLINE');
});

test('a handler that never yields and ignores its signal does not keep the reader', async () => {
  const never = Promise.withResolvers<void>();
  const [, client] = await watching(async function* () {
    yield event(1);
    await never.promise;
  });
  const read = async (): Promise<void> => {
    for await (const _ of client.watchRun({}, { deadlineMs: 100 }));
  };
  expect((await stewardErrorOf(read())).code).toBe('DEADLINE');
  never.resolve();
});

test('a stopping server ends its streams at once and says so', async () => {
  const [server, client] = await watching(async function* (ctx) {
    yield event(1);
    await once(ctx.signal, 'abort');
    ctx.signal.throwIfAborted();
  });
  const started = performance.now();
  let stopped: Promise<void> | undefined;
  const read = async (): Promise<void> => {
    for await (const _ of client.watchRun({})) stopped = server.stop(30_000);
  };
  expect(await stewardErrorOf(read())).toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringContaining('resume the stream'),
  });
  await stopped;
  expect(performance.now() - started).toBeLessThan(10_000);
});

test('a stopping server does not wait for a stream whose handler ignores it', async () => {
  const never = Promise.withResolvers<void>();
  const [server, client] = await watching(async function* () {
    yield event(1);
    await never.promise;
  });
  let stopped: Promise<void> | undefined;
  const read = async (): Promise<void> => {
    for await (const _ of client.watchRun({}, { deadlineMs: 20_000 })) stopped = server.stop(30_000);
  };
  expect((await stewardErrorOf(read())).code).toBe('UNAVAILABLE');
  await stopped;
  never.resolve();
});
