import type { DescMethod } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { pathOf } from '#platform/grpc/definition.ts';

/** What came back over the wire: everything a caller could read. */
export interface Answer {
  /** The gRPC status. */
  readonly code: number;
  /** All messages, the error's text and its trailers, as bytes. */
  readonly bytes: Buffer;
  readonly text: string;
}

/** A stream is listened to for so long: what it holds of the past comes at once. */
const STREAM_MS = 1_500;
const CALL_MS = 15_000;

/** Calls methods with bytes, as a client without any of our code would. Closed with `close`. */
export class Wire {
  readonly #clients = new Map<string, Client>();

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  #client(address: string): Client {
    const known = this.#clients.get(address);
    if (known) return known;
    const made = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
    this.#clients.set(address, made);
    return made;
  }

  async call(address: string, method: DescMethod, request: Uint8Array, token: string | null): Promise<Answer> {
    const metadata = new Metadata();
    if (token !== null) metadata.set('authorization', `Bearer ${token}`);
    const same = (value: Uint8Array): Buffer => Buffer.from(value);
    const stream = method.methodKind === 'server_streaming';
    const deadline = Date.now() + (stream ? STREAM_MS : CALL_MS);
    const got: Buffer[] = [];
    const { promise, resolve } = Promise.withResolvers<Answer>();
    const end = (error: ServiceError | null) => {
      const text = error === null ? '' : error.details;
      const trailers = Object.values(error?.metadata.getMap() ?? {}).map((value) => Buffer.from(value as Buffer));
      resolve({ code: error?.code ?? 0, text, bytes: Buffer.concat([...got, Buffer.from(text), ...trailers]) });
    };
    const client = this.#client(address);
    if (stream) {
      const call = client.makeServerStreamRequest(pathOf(method), same, same, request, metadata, { deadline });
      call.on('data', (message: Buffer) => got.push(message));
      call.on('end', () => end(null));
      call.on('error', (error) => end(error as ServiceError));
    } else {
      client.makeUnaryRequest(pathOf(method), same, same, request, metadata, { deadline }, (error, value) => {
        if (value) got.push(value);
        end(error as ServiceError | null);
      });
    }
    return promise;
  }
}
