import { isRetryable, isStewardError } from '#domain/errors.ts';
import type { RunActivities } from '#domain/ports/run-activities.ts';
import type { GuardPort } from '#domain/ports/services.ts';
import { type ActivityLog, runActivity, type StopPush } from '../run-context.ts';

export interface ConfirmDecisionDeps {
  readonly guard: GuardPort;
  /** The run grant of a run. Throws NOT_FOUND. */
  readonly runGrantOf: (ref: { readonly tenant: string; readonly run: string }) => Promise<string>;
  readonly push: StopPush;
  readonly log: ActivityLog;
}

/** The `confirmDecision` activity: what the guard has on record about an approval, after handing it a signed decision. */
export function createConfirmDecision(deps: ConfirmDecisionDeps): RunActivities['confirmDecision'] {
  return (input) =>
    runActivity(input, deps.push, deps.log, async (signal) => {
      const runGrant = await deps.runGrantOf(input);
      try {
        return await deps.guard.confirmDecision(runGrant, input.approval, input.signed, signal);
      } catch (error) {
        if (input.signed === undefined || !isAboutTheDecision(error)) throw error;
        // Whoever signals may send anything: what they sent does not count, and must not end the run.
        return { ...(await deps.guard.confirmDecision(runGrant, input.approval, undefined, signal)), forged: true };
      }
    });
}

function isAboutTheDecision(error: unknown): boolean {
  return isStewardError(error) && error.code !== 'CANCELLED' && !isRetryable(error.code);
}
