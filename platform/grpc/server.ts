import type { ServerOptions as GrpcOptions } from '@grpc/grpc-js';
import { createServer } from 'nice-grpc';
import { StewardError } from '#domain/errors.ts';
import type { Verifier } from '#platform/identity/principal.ts';
import type { BoundService } from './bind.ts';
import { type CallSettings, type Log, type RefusedCall, serveStream, serveUnary } from './call.ts';
import { toRawDefinition } from './definition.ts';
import { healthService } from './health.ts';
import { interceptCalls } from './intercept.ts';
import { reflectionServices } from './reflection.ts';

/** Bytes of one message, in either direction, unless said otherwise. */
export const MAX_MESSAGE_BYTES = 1_048_576;

export interface ServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly BoundService[];
  readonly verifier: Verifier;
  readonly log: Log;
  /** Lets clients ask for the contracts, without a token. For development. Default false. */
  readonly reflection?: boolean;
  /** Bytes of one message, in either direction. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** Told of calls that were refused for who their caller is; must not throw. */
  readonly onRefused?: (refused: RefusedCall) => void;
  /** Whether calls can be served now; asked by probes, and given 2 s. Default: always. */
  readonly health?: () => boolean | Promise<boolean>;
}

export interface RunningServer {
  /** `host:port` with the true port. */
  readonly address: string;
  readonly port: number;
  /**
   * Takes no more calls, ends streams at once, gives calls under way `graceMs` to end, cancels the rest and gives
   * their handlers a second to notice. Probes hear NOT_SERVING from the start. Safe to call twice.
   */
  stop(graceMs: number): Promise<void>;
}

const NOTICE_MS = 1_000;

/** Whether the work ended within the time. */
async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  const timeout = Promise.withResolvers<false>();
  const timer = setTimeout(() => timeout.resolve(false), ms);
  try {
    return await Promise.race([work.then(() => true), timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function splitAddress(listen: string): { readonly host: string; readonly port: number } {
  const match = /^(?<host>.+):(?<port>\d{1,5})$/.exec(listen);
  const port = Number(match?.groups?.port);
  const host = match?.groups?.host;
  if (host === undefined || !(port <= 65_535)) {
    throw new StewardError('INVALID_REQUEST', `'${listen}' is no address to listen on. Write host:port.`);
  }
  return { host, port };
}

/**
 * Serves the services, gRPC health and, where asked for, reflection. Every call is checked for token, role, size,
 * malformed and unknown content, has a deadline and a signal, and fails with a status and a trailer that fit its error.
 * Throws UNAVAILABLE where the address cannot be listened on.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { host, port: wanted } = splitAddress(options.listen);
  const maxMessageBytes = options.maxMessageBytes ?? MAX_MESSAGE_BYTES;
  const stopping = new AbortController();
  const settings: CallSettings = {
    verifier: options.verifier,
    log: options.log,
    maxMessageBytes,
    stopping: stopping.signal,
    onRefused: options.onRefused,
    running: new Set(),
  };
  const grpcOptions: GrpcOptions = {
    interceptors: [interceptCalls],
    'grpc.max_receive_message_length': maxMessageBytes,
    // The limit on answers is kept by `call.ts`, which can say more than grpc-js does.
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': 1_000,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  };
  const server = createServer(grpcOptions);
  const health = healthService(options.services, () => !stopping.signal.aborted && (options.health?.() ?? true));
  for (const service of [...options.services, health]) {
    const implementation = service.methods.map((method) => [
      method.desc.localName,
      method.desc.methodKind === 'unary' ? serveUnary(settings, method) : serveStream(settings, method),
    ]);
    server.add(toRawDefinition(service.desc), Object.fromEntries(implementation));
  }
  if (options.reflection === true) {
    for (const { definition, implementation } of reflectionServices([...options.services, health])) {
      server.add(definition, implementation);
    }
  }

  let port: number;
  try {
    port = await server.listen(options.listen);
  } catch (cause) {
    throw new StewardError('UNAVAILABLE', `Cannot listen on ${options.listen}. Is port ${wanted} taken?`, { cause });
  }

  let stopped: Promise<void> | undefined;
  async function stop(graceMs: number): Promise<void> {
    stopping.abort();
    if (!(await within(server.shutdown(), graceMs))) server.forceShutdown();
    await within(Promise.all(settings.running), NOTICE_MS);
  }
  return {
    address: `${host}:${port}`,
    port,
    stop(graceMs) {
      stopped ??= stop(graceMs);
      return stopped;
    },
  };
}
