import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { afterEach, expect, test } from '@jest/globals';
import { StewardError } from '#domain/errors.ts';
import { RunService, type WatchRunRequest, type WatchRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { bind, type CallContext, type RoleTable } from '#platform/grpc/bind.ts';
import { connect } from '#platform/grpc/client.ts';
import { startServer } from '#platform/grpc/server.ts';
import { runHandlers } from '#test/support/rpc.ts';
import { type Followed, type FollowOptions, followRun } from './follow.ts';

/** What one stream does: sends events up to a number, then ends as told. */
type Script = (
  request: WatchRunRequest,
  ctx: CallContext,
) => AsyncIterable<MessageInitShape<typeof WatchRunResponseSchema>>;

function event(sequence: number, kind = 'turn.started') {
  return { item: { case: 'event', value: { sequence: BigInt(sequence), kind } } } as const;
}

const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A server whose streams break as scripted; following through that is what is tested here. */
async function serve(scripts: readonly Script[], head = 3n) {
  const asked: bigint[] = [];
  const handlers = runHandlers({
    getRun: async () => ({ run: { head, closedAt: timestampFromMs(1) } }),
    async *watchRun(ctx, request) {
      const script = scripts[Math.min(asked.length, scripts.length - 1)];
      asked.push(request.afterSequence);
      if (script !== undefined) yield* script(request, ctx);
    },
  });
  const open = RunService.methods.map(({ localName }) => [localName, 'open'] as const);
  const roles = Object.fromEntries(open) as RoleTable<typeof RunService>;
  const server = await startServer({
    listen: '127.0.0.1:0',
    services: [bind(RunService, { roles, handlers })],
    verifier: { verify: () => Promise.reject(new Error('open')) },
    log: { debug: () => {}, info: () => undefined, warn: () => {}, error: () => {} },
  });
  const connection = connect(RunService, { address: server.address });
  stops.push(async () => {
    connection.close();
    await server.stop(0);
  });
  return { client: connection.client, asked };
}

const broken = (): StewardError => new StewardError('UNAVAILABLE', 'The server is stopping.');
const defaults: FollowOptions = { after: 0n, text: false, signal: new AbortController().signal };

async function all(items: AsyncIterable<Followed>): Promise<readonly string[]> {
  const seen: string[] = [];
  for await (const item of items) {
    seen.push(item.kind === 'event' ? String(item.event.sequence) : item.kind);
  }
  return seen;
}

test('a stream that breaks is taken up after the last event, and nothing comes twice', async () => {
  const { client, asked } = await serve([
    async function* first() {
      yield event(1);
      yield event(2);
      throw broken();
    },
    async function* second() {
      yield event(2);
      yield event(3, 'run.closed');
    },
  ]);
  expect(await all(followRun(client, 'r', defaults))).toEqual(['1', '2', 'broken', '3']);
  expect(asked).toEqual([0n, 2n]);
});

test('a reader told to resync, or that misses an event, reads again from where it stands', async () => {
  const { client, asked } = await serve([
    async function* resync() {
      yield event(1);
      yield { item: { case: 'resync', value: { afterSequence: 1n } } };
    },
    async function* gap() {
      yield event(3, 'run.closed');
    },
    async function* whole() {
      yield event(2);
      yield event(3, 'run.closed');
    },
  ]);
  expect(await all(followRun(client, 'r', defaults))).toEqual(['1', 'broken', 'broken', '2', '3']);
  expect(asked).toEqual([0n, 1n, 1n]);
});

test('a run that closed before is over, however late one looks', async () => {
  const { client } = await serve([async function* nothing() {}]);
  expect(await all(followRun(client, 'r', { ...defaults, after: 3n }))).toEqual([]);
});

test('attempts that bring nothing are bounded, and end with UNAVAILABLE', async () => {
  const { client, asked } = await serve([
    // biome-ignore lint/correctness/useYield: it only fails.
    async function* fails() {
      throw broken();
    },
  ]);
  const following = all(followRun(client, 'r', { ...defaults, after: 2n, attempts: 3 }));
  await expect(following).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { after: '2' } });
  expect(asked).toHaveLength(3);
});

test('silence counts as a break', async () => {
  const { client } = await serve([
    async function* silent(_request, ctx) {
      yield event(1);
      await new Promise((done) => ctx.signal.addEventListener('abort', done, { once: true }));
    },
    async function* rest() {
      yield event(2, 'run.closed');
    },
  ]);
  expect(await all(followRun(client, 'r', { ...defaults, silenceMs: 200 }))).toEqual(['1', 'broken', '2']);
});

test('what the service refuses is not tried again', async () => {
  const { client, asked } = await serve([
    // biome-ignore lint/correctness/useYield: it only fails.
    async function* refuses() {
      throw new StewardError('NOT_FOUND', 'No such run.');
    },
  ]);
  await expect(all(followRun(client, 'r', defaults))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(asked).toHaveLength(1);
});

test('an aborted reader ends without an error', async () => {
  const abort = new AbortController();
  const { client } = await serve([
    async function* endless(_request, ctx) {
      yield event(1);
      await new Promise((done) => ctx.signal.addEventListener('abort', done, { once: true }));
    },
  ]);
  const seen: string[] = [];
  for await (const item of followRun(client, 'r', { ...defaults, signal: abort.signal })) {
    seen.push(item.kind);
    abort.abort();
  }
  expect(seen).toEqual(['event']);
});
