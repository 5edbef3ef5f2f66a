import type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import { isRole, type Principal, type Role } from '#platform/identity/principal.ts';

/** What a handler knows about the call it serves. */
export interface CallContext {
  readonly principal: Principal;
  /** Aborted when the caller cancels or goes away, at the deadline, and when the server stops. Honour it: nothing else
   * ends a handler that goes on. */
  readonly signal: AbortSignal;
  /** Always set: the caller's, or the server's default. */
  readonly deadline: Date;
  /** `steward.run.v1.RunService/StartRun`. */
  readonly method: string;
  readonly metadata: {
    /** The first text value of a header, in lower case or not. */
    get(key: string): string | undefined;
  };
}

/** One RPC: gets the decoded request, gives the answer (unary) or the answers (server stream), or throws. */
export type Handler<M> = M extends {
  readonly methodKind: 'unary';
  readonly input: infer I extends DescMessage;
  readonly output: infer O extends DescMessage;
}
  ? (ctx: CallContext, request: MessageShape<I>) => Promise<MessageInitShape<O>>
  : M extends {
        readonly methodKind: 'server_streaming';
        readonly input: infer I extends DescMessage;
        readonly output: infer O extends DescMessage;
      }
    ? (ctx: CallContext, request: MessageShape<I>) => AsyncIterable<MessageInitShape<O>>
    : never;

/** A handler for every method of a service. */
export type Handlers<S extends DescService> = { readonly [K in keyof S['method'] & string]: Handler<S['method'][K]> };

/** Who may call a method: holders of one of these roles, or everyone, without a token. */
export type Access = readonly Role[] | 'open';

/** A line for every method of a service. */
export type RoleTable<S extends DescService> = { readonly [K in keyof S['method'] & string]: Access };

type UntypedAnswer = MessageInitShape<DescMessage>;
export type UntypedHandler = (
  ctx: CallContext,
  request: MessageShape<DescMessage>,
) => Promise<UntypedAnswer> | AsyncIterable<UntypedAnswer>;

/** One method with everything needed to serve it. */
export interface BoundMethod {
  readonly desc: DescMethod;
  readonly access: Access;
  readonly handler: UntypedHandler;
}

/** A service ready to be served. Made by `bind` only. */
export interface BoundService {
  readonly desc: DescService;
  readonly methods: readonly BoundMethod[];
}

/**
 * Joins a generated service with its handlers and its table of roles. A method without a handler or without roles does
 * not compile, and does not start either: throws INTERNAL naming it.
 */
export function bind<S extends DescService>(
  service: S,
  options: { readonly roles: RoleTable<S>; readonly handlers: Handlers<S> },
): BoundService {
  const roles = options.roles as Readonly<Record<string, Access | undefined>>;
  const handlers = options.handlers as Readonly<Record<string, UntypedHandler | undefined>>;
  const methods = service.methods.map((desc): BoundMethod => {
    const name = `${service.typeName}/${desc.name}`;
    const access = Object.hasOwn(roles, desc.localName) ? roles[desc.localName] : undefined;
    const handler = Object.hasOwn(handlers, desc.localName) ? handlers[desc.localName] : undefined;
    if (desc.methodKind !== 'unary' && desc.methodKind !== 'server_streaming') {
      throw new StewardError('INTERNAL', `${name} streams requests; this server takes unary and server streams only.`);
    }
    if (typeof handler !== 'function') throw new StewardError('INTERNAL', `${name} has no handler.`);
    if (access !== 'open' && !(Array.isArray(access) && access.length > 0 && access.every(isRole))) {
      throw new StewardError('INTERNAL', `${name} has no roles. Name at least one known role, or 'open'.`);
    }
    return { desc, access, handler };
  });
  return { desc: service, methods };
}
