import type { DescMessage, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { ClientError, createChannel, createClient, Metadata } from 'nice-grpc';
import { isStewardError, StewardError } from '#domain/errors.ts';
import { currentTraceParent } from '#platform/telemetry/ids.ts';
import { toDefinition } from './definition.ts';
import { ERROR_TRAILER, fromStatus, type Peer } from './errors.ts';

export interface ConnectOptions {
  /** `host:port`, or `https://host:port` for TLS with the system's authorities. */
  readonly address: string;
  /** Asked before every call; keep it cheap. Without one no token is sent. */
  readonly token?: () => Promise<string> | string;
  /** Milliseconds a unary call may take, the token included. Default 10 s. */
  readonly deadlineMs?: number;
  /** Milliseconds a stream may last. Default 1 h. */
  readonly streamDeadlineMs?: number;
  /** Bytes of one message, in either direction. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** What messages call the other side. Default: the service's name. */
  readonly name?: string;
}

export interface CallOptions {
  /** Cancels the call; it then fails with CANCELLED, and the server's handler is told. */
  readonly signal?: AbortSignal;
  /** Milliseconds, in place of the connection's. */
  readonly deadlineMs?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

type Call<M> = M extends {
  readonly methodKind: 'unary';
  readonly input: infer I extends DescMessage;
  readonly output: infer O extends DescMessage;
}
  ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
  : M extends {
        readonly methodKind: 'server_streaming';
        readonly input: infer I extends DescMessage;
        readonly output: infer O extends DescMessage;
      }
    ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
    : never;

/** One function per method. All failures are StewardErrors. */
export type Client<S extends DescService> = { readonly [K in keyof S['method'] & string]: Call<S['method'][K]> };

export interface Connection<S extends DescService> {
  readonly client: Client<S>;
  /** Ends calls under way with CANCELLED or UNAVAILABLE and gives the connection up. */
  close(): void;
}

type NiceOptions = { signal: AbortSignal; metadata: Metadata; onTrailer: (trailer: Metadata) => void };
type Message = MessageShape<DescMessage>;
type Request = MessageInitShape<DescMessage>;
type NiceClient = Record<string, (request: Request, options: NiceOptions) => Promise<Message> & AsyncIterable<Message>>;

const MAX_MESSAGE_BYTES = 1_048_576;
const LONGEST_DEADLINE_MS = 86_400_000;

interface Settings {
  readonly peer: Peer;
  readonly token: (() => Promise<string> | string) | undefined;
}

/** One call under way: what aborts it, what the server told at its end, and what a failure means. */
class OutgoingCall {
  readonly #settings: Settings;
  readonly #ms: number;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #metadata: Readonly<Record<string, string>>;
  readonly #traceParent = currentTraceParent();
  #ended: StewardError | undefined;
  #trailer: Uint8Array | undefined;

  constructor(settings: Settings, defaultMs: number, options: CallOptions) {
    this.#settings = settings;
    this.#ms = Math.round(Math.min(Math.max(options.deadlineMs ?? defaultMs, 1), LONGEST_DEADLINE_MS));
    this.#metadata = options.metadata ?? {};
    this.#signal = options.signal;
    this.#timer = setTimeout(() => {
      const { name, address } = settings.peer;
      this.#end('DEADLINE', `${name} at ${address} did not answer within ${this.#ms} ms.`);
    }, this.#ms);
    if (this.#signal?.aborted === true) this.#onCancel();
    else this.#signal?.addEventListener('abort', this.#onCancel, { once: true });
  }

  readonly #onCancel = (): void => this.#end('CANCELLED', `The call to ${this.#settings.peer.name} was cancelled.`);

  #end(code: 'DEADLINE' | 'CANCELLED', message: string): void {
    this.#ended ??= new StewardError(code, message);
    this.#abort.abort();
  }

  async #token(): Promise<string | undefined> {
    const { token } = this.#settings;
    if (token === undefined) return undefined;
    // Not Promise.withResolvers: the client of product services runs on Node 20 too.
    let onAbort = (): void => undefined;
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = () => reject(this.#ended);
    });
    this.#abort.signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([token(), aborted]);
    } finally {
      this.#abort.signal.removeEventListener('abort', onAbort);
    }
  }

  async options(): Promise<NiceOptions> {
    if (this.#ended !== undefined) throw this.#ended;
    const started = performance.now();
    const metadata = Metadata(this.#metadata);
    const token = await this.#token();
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    if (this.#traceParent !== undefined) metadata.set('traceparent', this.#traceParent);
    // nice-grpc has no deadlines; the header is what tells the server.
    const left = Math.max(1, Math.ceil(this.#ms - (performance.now() - started)));
    metadata.set('grpc-timeout', `${left}m`);
    return {
      signal: this.#abort.signal,
      metadata,
      onTrailer: (trailer) => {
        const bytes = trailer.get(ERROR_TRAILER);
        if (bytes instanceof Uint8Array) this.#trailer = bytes;
      },
    };
  }

  errorOf(thrown: unknown): StewardError {
    if (this.#ended !== undefined) return this.#ended;
    if (isStewardError(thrown)) return thrown;
    const { peer } = this.#settings;
    if (thrown instanceof ClientError) return fromStatus(thrown.code, thrown.details, this.#trailer, peer);
    return new StewardError('INTERNAL', `The call to ${peer.name} at ${peer.address} failed.`, { cause: thrown });
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onCancel);
  }
}

/**
 * A typed client of one service. Connects at the first call and again after a loss: at most a second after the service
 * is back, it is found. A call while nothing is connected fails at once with UNAVAILABLE; every call has a deadline.
 * Connections to one address with the same options share one socket.
 */
export function connect<S extends DescService>(service: S, options: ConnectOptions): Connection<S> {
  const maxBytes = options.maxMessageBytes ?? MAX_MESSAGE_BYTES;
  const channel = createChannel(options.address, undefined, {
    'grpc.max_receive_message_length': maxBytes,
    'grpc.max_send_message_length': maxBytes,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
    // How long nice-grpc lets one attempt to connect take, though it is not what the name says.
    'grpc.min_reconnect_backoff_ms': 5_000,
    'grpc.dns_min_time_between_resolutions_ms': 1_000,
    // Other gRPC servers refuse pings that come much more often.
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    // A failed call is repeated by whoever knows whether that is safe.
    'grpc.enable_retries': 0,
  });
  const nice = createClient(toDefinition(service), channel) as unknown as NiceClient;
  const name = options.name ?? service.name;
  const settings: Settings = { peer: { name, address: options.address }, token: options.token };

  const unary =
    (method: string) =>
    async (request: Request, callOptions: CallOptions = {}) => {
      const call = new OutgoingCall(settings, options.deadlineMs ?? 10_000, callOptions);
      try {
        return await nice[method]?.(request, await call.options());
      } catch (error) {
        throw call.errorOf(error);
      } finally {
        call.close();
      }
    };

  const stream = (method: string) =>
    async function* read(request: Request, callOptions: CallOptions = {}) {
      const call = new OutgoingCall(settings, options.streamDeadlineMs ?? 3_600_000, callOptions);
      try {
        const answers = nice[method]?.(request, await call.options());
        if (answers !== undefined) yield* answers;
      } catch (error) {
        throw call.errorOf(error);
      } finally {
        call.close();
      }
    };

  const methods = service.methods.map(({ localName, methodKind }) => [
    localName,
    methodKind === 'unary' ? unary(localName) : stream(localName),
  ]);
  return { client: Object.fromEntries(methods) as Client<S>, close: () => channel.close() };
}
