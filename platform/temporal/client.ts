import {
  Client,
  type ClientOptions,
  Connection,
  defaultGrpcRetryOptions,
  isGrpcServiceError,
  makeGrpcRetryInterceptor,
} from '@temporalio/client';
import { StewardError } from '#domain/errors.ts';

export interface TemporalOptions {
  /** `host:port`. */
  readonly address: string;
  readonly namespace: string;
  /** Sent as a bearer token; needs TLS. */
  readonly apiKey?: string;
  /** Default: with an API key. */
  readonly tls?: boolean;
  readonly interceptors?: NonNullable<ClientOptions['interceptors']>;
}

export interface Temporal {
  readonly client: Client;
  readonly namespace: string;
  /** Runs calls of `client` made in `work` under one deadline; what they throw is passed on as it is. */
  within<T>(deadline: Date, work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/**
 * A client that connects when it is first used and again after a loss, so that a Temporal that is down keeps no service
 * from starting. Every call belongs into `within`.
 */
export function connectTemporal(options: TemporalOptions): Temporal {
  const connection = Connection.lazy({
    address: options.address,
    tls: options.tls ?? options.apiKey !== undefined,
    ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey }),
    // Bridges a blip; who waits for longer is told soon, and what is owed stays in the outbox.
    interceptors: [makeGrpcRetryInterceptor(defaultGrpcRetryOptions({ maxAttempts: 4, maxIntervalMs: () => 1_000 }))],
    channelArgs: {
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      // A restarted server is found again at most a second after it is back.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    },
  });
  const client = new Client({
    connection,
    namespace: options.namespace,
    ...(options.interceptors === undefined ? {} : { interceptors: options.interceptors }),
  });
  return {
    client,
    namespace: options.namespace,
    within: (deadline, work) => connection.withDeadline(deadline, work),
    close: () => connection.close(),
  };
}

/** gRPC status numbers of a server that is away, overloaded or too slow. */
const AWAY: ReadonlySet<number> = new Set([1, 4, 8, 14]);

/** What a failed call of Temporal's means to a caller: UNAVAILABLE where it can be tried again, else INTERNAL. */
export function fromTemporal(error: unknown): StewardError {
  const text = textOfTemporal(error);
  if (isAway(error)) {
    return new StewardError('UNAVAILABLE', 'Temporal cannot be reached right now. Try again.', { cause: error });
  }
  return new StewardError('INTERNAL', `Temporal refused the call: ${text}`, { cause: error });
}

/** The cause in one line, for the log and for the outbox. */
export function textOfTemporal(error: unknown): string {
  const causes: string[] = [];
  for (let at: unknown = error; at instanceof Error && causes.length < 4; at = at.cause) causes.push(at.message);
  const text = causes.length > 0 ? causes.join(': ') : String(error);
  return text.replaceAll(/\s+/g, ' ').slice(0, 500);
}

function isAway(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth += 1) {
    if (isGrpcServiceError(at)) return AWAY.has(at.code);
  }
  return false;
}
