import { fromBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { StewardError } from '#domain/errors.ts';
import { ErrorDetailSchema } from '#gen/steward/common/v1/error_pb.ts';
import { RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Access, bind, type Handlers, type RoleTable } from '#platform/grpc/bind.ts';
import { ERROR_TRAILER } from '#platform/grpc/errors.ts';
import { type RunningServer, type ServerOptions, startServer } from '#platform/grpc/server.ts';
import type { TestIssuer } from './identity.ts';

type RunHandlers = Handlers<typeof RunService>;

/** A log that keeps its lines. */
export interface LogLines {
  readonly lines: { readonly level: string; readonly fields: object; readonly message: string }[];
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A log for one test. */
export function keepLog(): LogLines {
  const lines: LogLines['lines'] = [];
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, fields, message });
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Handlers for every method of RunService: those given, and UNIMPLEMENTED for the others. */
export function runHandlers(handlers: Partial<RunHandlers>): RunHandlers {
  const missing = async (): Promise<never> => {
    throw new StewardError('UNIMPLEMENTED', 'not in this test');
  };
  async function* missingStream(): AsyncGenerator<never> {
    yield await missing();
  }
  const all = RunService.methods.map(({ localName, methodKind }) => [
    localName,
    methodKind === 'unary' ? missing : missingStream,
  ]);
  return { ...(Object.fromEntries(all) as RunHandlers), ...handlers };
}

/** RunService on a free port with the handlers given; the other methods answer UNIMPLEMENTED. For operators. */
export async function serveRuns(
  issuer: TestIssuer,
  handlers: Partial<RunHandlers>,
  options: Partial<ServerOptions> & { readonly access?: Partial<RoleTable<typeof RunService>> } = {},
): Promise<RunningServer> {
  const names = RunService.methods.map((method) => method.localName);
  const roles = Object.fromEntries(names.map((name): [string, Access] => [name, ['operator']]));
  const service = bind(RunService, {
    roles: { ...(roles as RoleTable<typeof RunService>), ...options.access },
    handlers: runHandlers(handlers),
  });
  const { access: _, ...rest } = options;
  return await startServer({
    listen: '127.0.0.1:0',
    services: [service],
    verifier: issuer.verifier,
    log: keepLog(),
    ...rest,
  });
}

/** What a client without any of our code gets. */
export interface RawAnswer {
  readonly code: number;
  readonly text: string;
  readonly trailer: Uint8Array | undefined;
  readonly bytes: Uint8Array | undefined;
}

/** One unary call with bytes as they are, by grpc-js alone, as a client in another language would make it. */
export async function rawCall(
  address: string,
  path: string,
  bytes: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawAnswer> {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  const same = (value: Uint8Array): Buffer => Buffer.from(value);
  const answer = Promise.withResolvers<RawAnswer>();
  const call = client.makeUnaryRequest(path, same, same, bytes, metadata, {}, (error, value) => {
    const failed = error as ServiceError | null;
    const trailer = failed?.metadata.get(ERROR_TRAILER)[0];
    answer.resolve({
      code: failed?.code ?? 0,
      text: failed?.details ?? '',
      trailer: typeof trailer === 'string' ? undefined : trailer,
      bytes: value,
    });
  });
  // No deadline of grpc-js' own: it would take the place of a `grpc-timeout` among the headers.
  const timer = setTimeout(() => call.cancel(), 15_000);
  try {
    return await answer.promise;
  } finally {
    clearTimeout(timer);
    client.close();
  }
}

/** The ErrorDetail's code in a failed call's trailer; empty where there is none. */
export function codeIn(answer: RawAnswer): string {
  return answer.trailer === undefined ? '' : fromBinary(ErrorDetailSchema, answer.trailer).code;
}
