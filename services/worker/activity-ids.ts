import type { ActivityInboundCallsInterceptor, ActivityInterceptorsFactory } from '@temporalio/worker';
import type { RunRef } from '#domain/ports/run-store.ts';
import { knownTrace, type Work, withIds } from '#platform/telemetry/ids.ts';

/** What every activity of a run is given first; a call or a turn where it is about one. */
type RunArguments = Partial<Record<'tenant' | 'run' | 'call', string>> & { readonly turn?: number };

/** Puts the ids of what an activity is about around it; tells `ended` of whose it was when it has ended. */
export function activityIds(ended: (ref: RunRef) => void): ActivityInterceptorsFactory {
  return (context) => {
    const inbound: ActivityInboundCallsInterceptor = {
      async execute(input, next) {
        const ids = idsOf(context.info.activityType, input.args[0]);
        try {
          return await withIds(ids, () => next(input));
        } finally {
          if (ids.tenant !== undefined && ids.run !== undefined) ended({ tenant: ids.tenant, run: ids.run });
        }
      },
    };
    return { inbound };
  };
}

function idsOf(activity: string, given: unknown): Work {
  if (typeof given !== 'object' || given === null) return { activity };
  const { tenant, run, turn, call } = given as RunArguments;
  return { activity, tenant, run, turn, call, ...(run === undefined ? {} : knownTrace(run)) };
}
