import { isStewardError } from '#domain/errors.ts';
import type { CloseRunInput, CloseRunResult, RunActivities } from '#domain/ports/run-activities.ts';
import type { CallStore, CloseStore, OpenedCall, RunRef } from '#domain/ports/run-store.ts';
import type { CatalogPort } from '#domain/ports/services.ts';
import { STOP_TEXT } from '#domain/run.ts';
import { type ActivityLog, NO_PUSH, runActivity, type StopPush } from '../run-context.ts';
import { settleCall } from '../tools/settle-call.ts';

export interface CloseRunDeps {
  readonly store: CallStore & CloseStore;
  readonly catalogs: CatalogPort;
  /** Delivers outbox rows of runs that got the freed slot. */
  readonly deliver: (tenant: string, outboxIds: readonly number[]) => Promise<void>;
  readonly push: StopPush;
  readonly log: ActivityLog;
}

/** The `closeRun` activity, which is not stopped itself: resolves what was started, then writes the end of the run, unless it may go on. */
export function createCloseRun(deps: CloseRunDeps): RunActivities['closeRun'] {
  return (input) => runActivity(input, NO_PUSH, deps.log, () => closeRun(deps, input));
}

const NEVER = new AbortController().signal;

async function settleOne(deps: CloseRunDeps, ref: RunRef, callId: string, call: OpenedCall): Promise<void> {
  const end = await settleCall(deps, ref, callId, call, NEVER);
  await deps.store.endCall(ref, callId, end.kind === 'failed' ? { ...end, kind: 'cancelled' } : end);
}

/**
 * Asks once more what became of a call of a closed run. False where that is still not known. An effect that is found then
 * is told, counted and undone like any other.
 */
export async function settleLate(deps: CloseRunDeps, ref: RunRef, callId: string): Promise<boolean> {
  try {
    await settleOne(deps, ref, callId, await deps.store.openCall(ref, callId));
    return true;
  } catch (error) {
    if (isStewardError(error) && error.code === 'OUTCOME_UNKNOWN') return false;
    throw error;
  }
}

/** Also used by the reconciler, for runs whose workflow is gone. */
export async function closeRun(deps: CloseRunDeps, input: CloseRunInput): Promise<CloseRunResult> {
  const ref: RunRef = { tenant: input.tenant, run: input.run };
  const started = await deps.store.startedCalls(ref);
  // Side by side: one catalog that is away must not keep the others' calls from being settled.
  const settled = await Promise.allSettled(
    started.map(async (call) => {
      await settleOne(deps, ref, call.callId, call);
    }),
  );
  for (const [index, one] of settled.entries()) {
    if (one.status === 'fulfilled') continue;
    if (!input.giveUp) throw one.reason;
    const call = started[index]?.callId;
    deps.log.warn('closing without knowing what became of a call', { run: input.run, call, err: one.reason });
  }
  const message = input.message ?? (input.reason ? STOP_TEXT[input.reason] : '');
  const mayGoOn = input.mayGoOn === true;
  const closed = await deps.store.close(ref, { status: input.status, reason: input.reason, message, mayGoOn });
  // Delivery that fails here is the sweeper's.
  await deps.deliver(input.tenant, closed.promoted).catch(() => undefined);
  return {
    costMicroUsd: closed.costMicroUsd,
    steps: closed.steps,
    unknown: closed.unknown,
    ...(closed.unread > 0 ? { unread: closed.unread } : {}),
  };
}
