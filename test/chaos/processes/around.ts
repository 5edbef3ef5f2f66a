import type { BoundService, CallContext, UntypedHandler } from '#platform/grpc/bind.ts';
import type { Probe } from '../probe.ts';

type Answer = Awaited<Extract<ReturnType<UntypedHandler>, Promise<unknown>>>;

/** Runs a call the way its service would; give it another context to change what the handler knows of its caller. */
export type Serve = (ctx: CallContext) => Promise<Answer>;

/** Put around the unary calls of a service. */
export type Around = (method: string, ctx: CallContext, request: unknown, serve: Serve) => Promise<Answer>;

export function aroundCalls(around: Around): (service: BoundService) => BoundService {
  return (service) => ({
    ...service,
    methods: service.methods.map((method) =>
      method.desc.methodKind === 'unary'
        ? {
            ...method,
            handler: (ctx, request) =>
              around(method.desc.localName, ctx, request, async (as) => (await method.handler(as, request)) as Answer),
          }
        : method,
    ),
  });
}

/** Counts the calls of these methods as under way, and dies after one where the point `points` names for it is armed. */
export function countedCalls(
  probe: Probe,
  methods: ReadonlySet<string>,
  points: Readonly<Record<string, string>> = {},
): (service: BoundService) => BoundService {
  return aroundCalls(async (method, ctx, _request, serve) => {
    if (!methods.has(method)) return await serve(ctx);
    return await probe.during({ what: method, run: null }, async () => {
      const answer = await serve(ctx);
      const point = points[method];
      if (point !== undefined) probe.dieAt(point, method);
      return answer;
    });
  });
}
