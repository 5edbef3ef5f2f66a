import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import type { CallContext as NiceContext } from 'nice-grpc';
import { isStewardError, StewardError, toStewardError } from '#domain/errors.ts';
import { ANONYMOUS, type Principal, type Verifier } from '#platform/identity/principal.ts';
import { type Ids, idsOf, underIds, type Work } from '#platform/telemetry/ids.ts';
import { readTraceParent } from '#platform/telemetry/trace.ts';
import { type ServedSpan, tracing } from '#platform/telemetry/tracing.ts';
import type { BoundMethod, CallContext } from './bind.ts';
import { decode, encode } from './definition.ts';
import { ERROR_TRAILER, toServerError, toTrailer } from './errors.ts';
import { refuseUnknown } from './unknown-fields.ts';

/** Where the server's interceptor leaves the caller's deadline (milliseconds since 1970) for the handler. */
export const DEADLINE_KEY = 'steward-deadline-ms';

const UNARY_DEFAULT_MS = 30_000;
const LONGEST_MS = 3_600_000;

/** Takes log lines. Any pino logger fits. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A call that was refused for who its caller is. */
export interface RefusedCall {
  readonly tenant: string;
  readonly subject: string;
  readonly method: string;
  readonly code: 'ROLE_MISSING' | 'TENANT_MISMATCH' | 'NOT_PERMITTED';
}

/** What all calls of one server share. */
export interface CallSettings {
  readonly verifier: Verifier;
  readonly log: Log;
  readonly maxMessageBytes: number;
  /** Aborted when the server stops: ends streams, which would otherwise outlast any grace. */
  readonly stopping: AbortSignal;
  /** Told of calls that were refused for who their caller is, where its tenant is known. */
  readonly onRefused?: ((refused: RefusedCall) => void) | undefined;
  /** Work that must end before the server counts as stopped. */
  readonly running: Set<Promise<unknown>>;
}

function firstText(context: NiceContext, key: string): string | undefined {
  return context.metadata.getAll(key.toLowerCase()).find((value) => typeof value === 'string');
}

function bearerOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const token = /^bearer +(\S+)$/i.exec(header.trim())?.[1];
  if (token === undefined) {
    throw new StewardError('TOKEN_INVALID', "The authorization header must read 'Bearer', a space, and one token.");
  }
  return token;
}

function deadlineOf(context: NiceContext, stream: boolean): Date {
  const now = Date.now();
  const asked = Number(firstText(context, DEADLINE_KEY) ?? Number.POSITIVE_INFINITY);
  const byDefault = now + (stream ? LONGEST_MS : UNARY_DEFAULT_MS);
  return new Date(Number.isFinite(asked) ? Math.min(asked, now + LONGEST_MS) : byDefault);
}

async function admit(
  method: BoundMethod,
  name: string,
  context: NiceContext,
  verifier: Verifier,
  known: (principal: Principal) => void,
): Promise<Principal> {
  if (method.access === 'open') return ANONYMOUS;
  const principal = await verifier.verify(bearerOf(firstText(context, 'authorization')));
  known(principal);
  if (!method.access.some((role) => principal.roles.includes(role))) {
    const needs = method.access.join(', ');
    const has = principal.roles.join(', ') || 'none';
    throw new StewardError('ROLE_MISSING', `${name} needs one of the roles ${needs}; this token has ${has}.`, {
      details: { needs, has },
    });
  }
  return principal;
}

function readRequest(method: BoundMethod, bytes: Uint8Array): ReturnType<typeof decode> {
  const schema = method.desc.input;
  let request: ReturnType<typeof decode>;
  try {
    request = decode(schema, bytes);
  } catch (cause) {
    const why = (cause as { message?: unknown } | undefined)?.message ?? cause;
    throw new StewardError('INVALID_REQUEST', `The bytes sent are no ${schema.typeName}: ${why}`, { cause });
  }
  refuseUnknown(schema, request);
  return request;
}

/** Requests name their run and call alike; who may not see these learns no more from the log than was asked. */
function noteNamed(ids: Ids, request: object): void {
  const { runId, callId } = request as { runId?: unknown; callId?: unknown };
  if (isId(runId)) ids.run = runId;
  if (isId(callId)) ids.call = callId;
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.-]{1,64}$/.test(value);
}

/** One call under way: its signal, its deadline, and how it ends. */
class ServedCall {
  readonly #settings: CallSettings;
  readonly #method: BoundMethod;
  readonly #nice: NiceContext;
  readonly #name: string;
  readonly #deadline: Date;
  readonly #abort = new AbortController();
  readonly #aborted: Promise<never>;
  readonly #timer: NodeJS.Timeout;
  readonly #started = performance.now();
  readonly #work: Work;
  readonly #span: ServedSpan | undefined;
  #failure: string | undefined;
  #principal: Principal = ANONYMOUS;

  constructor(settings: CallSettings, method: BoundMethod, nice: NiceContext) {
    this.#settings = settings;
    this.#method = method;
    this.#nice = nice;
    this.#name = `${method.desc.parent.typeName}/${method.desc.name}`;
    const stream = method.desc.methodKind !== 'unary';
    const parent = readTraceParent(firstText(nice, 'traceparent'));
    this.#span = parent?.sampled === true ? tracing()?.serve(this.#name, parent) : undefined;
    this.#work = { rpc: this.#name };
    if (parent !== undefined) {
      this.#work.trace = parent.trace;
      this.#work.span = this.#span?.span ?? parent.span;
      this.#work.sampled = parent.sampled;
    }
    this.#deadline = deadlineOf(nice, stream);
    this.#aborted = new Promise((_resolve, reject) => {
      this.#abort.signal.addEventListener('abort', () => reject(this.#abort.signal.reason), { once: true });
    });
    // Nobody may be waiting when it is rejected.
    this.#aborted.catch(() => {});
    this.#timer = setTimeout(this.#onDeadline, Math.max(0, this.#deadline.getTime() - Date.now()));
    if (nice.signal.aborted) this.#onCancel();
    else nice.signal.addEventListener('abort', this.#onCancel, { once: true });
    if (stream) {
      if (settings.stopping.aborted) this.#onStop();
      else settings.stopping.addEventListener('abort', this.#onStop, { once: true });
    }
  }

  readonly #onDeadline = (): void => {
    this.#abort.abort(new StewardError('DEADLINE', `${this.#name} did not finish by its deadline.`));
  };

  readonly #onCancel = (): void => {
    // grpc-js reports its own deadline as a cancellation; by the clock it is told apart.
    if (Date.now() >= this.#deadline.getTime()) this.#onDeadline();
    else this.#abort.abort(new StewardError('CANCELLED', 'The caller cancelled the call or went away.'));
  };

  readonly #onStop = (): void => {
    this.#abort.abort(new StewardError('UNAVAILABLE', 'The server is stopping. Connect again and resume the stream.'));
  };

  /** Waits for a handler, but not past the end of the call. What it does afterwards is its own affair, and logged. */
  async #within<T>(work: Promise<T>): Promise<T> {
    this.track(work);
    return await Promise.race([work, this.#aborted]);
  }

  track(work: Promise<unknown>): void {
    const settled = work.then(
      () => {},
      () => {},
    );
    this.#settings.running.add(settled);
    void settled.then(() => this.#settings.running.delete(settled));
  }

  async #open(bytes: Uint8Array): Promise<readonly [CallContext, ReturnType<typeof decode>]> {
    const known = (principal: Principal): void => {
      this.#principal = principal;
    };
    await this.#within(admit(this.#method, this.#name, this.#nice, this.#settings.verifier, known));
    const request = readRequest(this.#method, bytes);
    this.#work.tenant = this.#principal.tenant;
    noteNamed(this.#work, request);
    const ctx: CallContext = {
      principal: this.#principal,
      signal: this.#abort.signal,
      deadline: this.#deadline,
      method: this.#name,
      metadata: { get: (key) => firstText(this.#nice, key) },
    };
    return [ctx, request];
  }

  #answer(init: MessageInitShape<DescMessage>): Uint8Array {
    const bytes = encode(this.#method.desc.output, init);
    const max = this.#settings.maxMessageBytes;
    if (bytes.length <= max) return bytes;
    throw new StewardError('TOO_LARGE', `The answer has ${bytes.length} bytes; at most ${max} are sent. Ask for less.`);
  }

  /** The call with its lines of the log under its ids. */
  under<T>(work: () => T): T {
    return underIds(this.#work, work);
  }

  async unary(bytes: Uint8Array): Promise<Uint8Array> {
    const [ctx, request] = await this.#open(bytes);
    const answer = this.#method.handler(ctx, request) as Promise<MessageInitShape<DescMessage>>;
    return this.#answer(await this.#within(Promise.resolve(answer)));
  }

  async *stream(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    const [ctx, request] = await this.#open(bytes);
    const answers = this.#method.handler(ctx, request) as AsyncIterable<MessageInitShape<DescMessage>>;
    const iterator = answers[Symbol.asyncIterator]();
    let exhausted = false;
    try {
      for (;;) {
        const next = await this.#within(underIds(this.#work, () => Promise.resolve(iterator.next())));
        if (next.done) {
          exhausted = true;
          return;
        }
        yield this.#answer(next.value);
      }
    } finally {
      // Not awaited: a handler that ignores its signal must not hold up the answer.
      if (!exhausted && iterator.return !== undefined) this.track(Promise.resolve(iterator.return()));
    }
  }

  /** What the caller gets to see of a failure. */
  fail(thrown: unknown): Error {
    // Work that was aborted fails in many ways; the reason is the one that was given.
    const aborted = this.#abort.signal.aborted && !isStewardError(thrown);
    const error = toStewardError(aborted ? this.#abort.signal.reason : thrown);
    this.#failure = error.code;
    const { code } = error;
    if (code === 'ROLE_MISSING' || code === 'TENANT_MISMATCH' || code === 'NOT_PERMITTED') {
      const { tenant, subject } = this.#principal;
      if (tenant !== '') this.#settings.onRefused?.({ tenant, subject, method: this.#name, code });
    }
    const fields = { ...idsOf(this.#work), code: error.code, err: error.cause ?? error };
    if (error.code === 'INTERNAL') this.#settings.log.error(fields, 'call failed');
    else if (error.cause !== undefined) this.#settings.log.warn(fields, 'call refused');
    this.#nice.trailer.set(ERROR_TRAILER, toTrailer(error));
    return toServerError(error);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#nice.signal.removeEventListener('abort', this.#onCancel);
    this.#settings.stopping.removeEventListener('abort', this.#onStop);
    const { subject } = this.#principal;
    const ms = Math.round(performance.now() - this.#started);
    this.#settings.log.debug({ ...idsOf(this.#work), subject, ms }, 'call ended');
    this.#span?.end(this.#failure);
  }
}

/** The method as nice-grpc calls it, for a unary method. */
export function serveUnary(
  settings: CallSettings,
  method: BoundMethod,
): (bytes: Uint8Array, context: NiceContext) => Promise<Uint8Array> {
  return async (bytes, context) => {
    const call = new ServedCall(settings, method, context);
    try {
      return await call.under(() => call.unary(bytes));
    } catch (error) {
      throw call.fail(error);
    } finally {
      call.end();
    }
  };
}

/** The method as nice-grpc calls it, for a server stream. */
export function serveStream(
  settings: CallSettings,
  method: BoundMethod,
): (bytes: Uint8Array, context: NiceContext) => AsyncGenerator<Uint8Array, void, undefined> {
  return async function* serve(bytes, context) {
    const call = new ServedCall(settings, method, context);
    try {
      yield* call.stream(bytes);
    } catch (error) {
      throw call.fail(error);
    } finally {
      call.end();
    }
  };
}
