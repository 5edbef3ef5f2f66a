import type { ActivityInboundCallsInterceptor, ActivityInterceptors } from '@temporalio/worker';
import { type Ids, withIds } from '#platform/telemetry/ids.ts';

/** What every activity of a run is given first; a call or a turn where it is about one. */
type RunArguments = Partial<Record<'tenant' | 'run' | 'call', string>> & { readonly turn?: number };

/** Puts the ids of what an activity is about around it. */
export function activityIds(context: { readonly info: { readonly activityType: string } }): ActivityInterceptors {
  const inbound: ActivityInboundCallsInterceptor = {
    execute: (input, next) => withIds(idsOf(context.info.activityType, input.args[0]), () => next(input)),
  };
  return { inbound };
}

function idsOf(activity: string, given: unknown): Ids {
  if (typeof given !== 'object' || given === null) return { activity };
  const { tenant, run, turn, call } = given as RunArguments;
  return { activity, tenant, run, turn, call };
}
