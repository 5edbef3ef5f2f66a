import { setTimeout as sleep } from 'node:timers/promises';
import { StewardError } from '#domain/errors.ts';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '#gen/grpc/health/v1/health_pb.ts';
import { type BoundService, bind } from './bind.ts';

const ANSWER_MS = 2_000;
const WATCH_EVERY_MS = 1_000;

/** True only where the check says so, and in time. */
async function isServing(health: () => boolean | Promise<boolean>): Promise<boolean> {
  const late = new AbortController();
  try {
    const timeout = sleep(ANSWER_MS, false, { signal: late.signal }).catch(() => false);
    return await Promise.race([Promise.resolve().then(health), timeout]);
  } catch {
    return false;
  } finally {
    late.abort();
  }
}

/** grpc.health.v1.Health over the given services, open to all. A check that throws or hangs counts as not serving. */
export function healthService(
  services: readonly BoundService[],
  health: () => boolean | Promise<boolean>,
): BoundService {
  const known = new Set(['', Health.typeName, ...services.map((service) => service.desc.typeName)]);

  async function statusOf(service: string): Promise<Serving> {
    if (!known.has(service)) return Serving.SERVICE_UNKNOWN;
    return (await isServing(health)) ? Serving.SERVING : Serving.NOT_SERVING;
  }

  return bind(Health, {
    roles: { check: 'open', watch: 'open' },
    handlers: {
      async check(_ctx, request) {
        const status = await statusOf(request.service);
        if (status !== Serving.SERVICE_UNKNOWN) return { status };
        throw new StewardError('NOT_FOUND', `This server has no service '${request.service}'.`);
      },
      async *watch(ctx, request) {
        let last: Serving | undefined;
        // Ends with the call's signal, which the deadline aborts at the latest.
        for (;;) {
          const status = await statusOf(request.service);
          if (status !== last) yield { status };
          last = status;
          await sleep(WATCH_EVERY_MS, undefined, { signal: ctx.signal });
        }
      },
    },
  });
}
