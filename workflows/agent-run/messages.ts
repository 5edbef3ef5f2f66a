import {
  ApplicationFailure,
  CancellationScope,
  defineQuery,
  defineSignal,
  defineUpdate,
  setHandler,
} from '@temporalio/workflow';
import {
  DECIDE_APPROVAL,
  type DecideApprovalResult,
  type DecideApprovalSignal,
  PAUSE_RUN,
  type PauseSignal,
  RAISE_BUDGET,
  type RaiseBudgetResult,
  type RaiseBudgetSignal,
  RESUME_RUN,
  type RunStateView,
  STATE_QUERY,
} from '#domain/run-workflow.ts';
import type { Board } from './board.ts';
import type { Inbox } from './inbox.ts';
import type { Pause } from './pause.ts';

const decideApproval = defineSignal<[DecideApprovalSignal]>(DECIDE_APPROVAL);
const raiseBudget = defineSignal<[RaiseBudgetSignal]>(RAISE_BUDGET);
const pauseRun = defineSignal<[PauseSignal]>(PAUSE_RUN);
const resumeRun = defineSignal<[PauseSignal]>(RESUME_RUN);
const decideApprovalUpdate = defineUpdate<DecideApprovalResult, [DecideApprovalSignal]>(DECIDE_APPROVAL);
const raiseBudgetUpdate = defineUpdate<RaiseBudgetResult, [RaiseBudgetSignal]>(RAISE_BUDGET);
const stateQuery = defineQuery<RunStateView>(STATE_QUERY);

/** Sets the handlers of everything that may be sent to a run. They look at structure only and believe nothing. */
export function listen(to: {
  readonly inbox: Inbox;
  readonly pause: Pause;
  readonly board: Board;
  readonly closing: () => boolean;
}): void {
  const { inbox, pause, board, closing } = to;
  setHandler(decideApproval, (signal) => inbox.addDecision(signal));
  setHandler(
    decideApprovalUpdate,
    async (signal) => {
      inbox.addDecision(signal);
      // Also while the run is being cancelled the asker is told where it stands.
      const state = await CancellationScope.nonCancellable(() => inbox.standing(signal.approvalId, closing));
      return { applied: state === 'approved' || state === 'denied', state };
    },
    {
      validator: (signal) => {
        if (inbox.fits(signal)) return;
        throw ApplicationFailure.nonRetryable(
          'No call of this run waits for that approval with that digest.',
          'WRONG_STATE',
        );
      },
    },
  );
  setHandler(raiseBudget, (signal) => inbox.addRaise(signal));
  setHandler(raiseBudgetUpdate, async (signal) => {
    inbox.addRaise(signal);
    const waits = board.view().phase === 'awaiting_budget';
    if (!waits) return { applied: !closing() };
    return { applied: await CancellationScope.nonCancellable(() => inbox.raisesSeen(closing)) };
  });
  setHandler(pauseRun, () => {
    pause.set(true);
  });
  setHandler(resumeRun, () => {
    pause.set(false);
  });
  setHandler(stateQuery, () => board.view());
}
