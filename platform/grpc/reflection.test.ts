import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { testIssuer } from '#test/support/identity.ts';
import { serveRuns } from '#test/support/rpc.ts';

const issuer = await testIssuer();
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const FILE_BY_FILENAME = 3;
const FILE_CONTAINING_SYMBOL = 4;
const LIST_SERVICES = 7;

/** The length-delimited fields of a message, by number: enough to read the protocol without its generated code. */
function fieldsOf(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const fields = new Map<number, Uint8Array[]>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited) fields.set(number, [...(fields.get(number) ?? []), reader.bytes()]);
    else reader.skip(type);
  }
  return fields;
}

/** Asks one question on a stream of its own; gives the answer's fields, or the status where the call fails. */
async function ask(address: string, version: string, field: number, text: string): Promise<Map<number, Uint8Array[]>> {
  const client = new Client(address, credentials.createInsecure());
  const same = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
  const deadline = Date.now() + 5_000;
  try {
    return await new Promise((resolve, reject) => {
      const call = client.makeBidiStreamRequest(path, same, same, new Metadata(), { deadline });
      call.on('data', (bytes: Buffer) => {
        resolve(fieldsOf(bytes));
        call.end();
      });
      call.on('error', reject);
      call.write(new BinaryWriter().tag(field, WireType.LengthDelimited).string(text).finish());
    });
  } finally {
    client.close();
  }
}

async function filesOf(address: string, version: string, field: number, text: string): Promise<FileDescriptorProto[]> {
  const [answer] = (await ask(address, version, field, text)).get(4) ?? [];
  const files = fieldsOf(answer ?? new Uint8Array()).get(1) ?? [];
  return files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
}

test.each(['v1', 'v1alpha'])(
  'a client that knows nothing but reflection %s learns the whole contract',
  async (version) => {
    const server = await serveRuns(issuer, {}, { reflection: true });
    cleanups.push(() => server.stop(0));
    const [list] = (await ask(server.address, version, LIST_SERVICES, '')).get(6) ?? [];
    const names = (fieldsOf(list ?? new Uint8Array()).get(1) ?? []).map((service) =>
      Buffer.from(fieldsOf(service).get(1)?.[0] ?? []).toString(),
    );
    expect(names).toEqual(['steward.run.v1.RunService', 'grpc.health.v1.Health']);

    const found = new Map<string, FileDescriptorProto>();
    const wanted = await filesOf(server.address, version, FILE_CONTAINING_SYMBOL, 'steward.run.v1.RunService');
    // Bounded by the files there are: each is asked for once.
    for (const file of wanted) {
      if (found.has(file.name)) continue;
      found.set(file.name, file);
      for (const name of file.dependency)
        wanted.push(...(await filesOf(server.address, version, FILE_BY_FILENAME, name)));
    }
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [...found.values()].reverse() }));
    const service = registry.getService('steward.run.v1.RunService');
    expect(service?.methods.map((method) => method.name)).toContain('WatchRun');
    expect(service?.method.watchRun?.methodKind).toBe('server_streaming');
    expect(service?.method.startRun?.input.field.narrowing?.message?.field.limits?.message?.typeName).toBe(
      'steward.run.v1.Limits',
    );
    expect(await filesOf(server.address, version, FILE_CONTAINING_SYMBOL, 'no.such.Service')).toEqual([]);
  },
);

test('without being asked for there is no reflection', async () => {
  const server = await serveRuns(issuer, {});
  cleanups.push(() => server.stop(0));
  for (const version of ['v1', 'v1alpha']) {
    await expect(ask(server.address, version, LIST_SERVICES, '')).rejects.toMatchObject({ code: 12 });
  }
});
