import { ActivityFailure, type ActivityOptions, CancellationScope, proxyActivities } from '@temporalio/workflow';
import type { UndoActivities, UndoInput, UndoOutput, UndoState } from '#domain/undo.ts';

/** A tool answers within 60 s; a catalog that cannot be reached is waited for. */
const undoing: ActivityOptions = {
  heartbeatTimeout: '5s',
  startToCloseTimeout: '5m',
  scheduleToCloseTimeout: '10m',
  retry: { initialInterval: '300ms', backoffCoefficient: 2, maximumInterval: '30s' },
};

/** Writing down what could not be learned. Goes on until it is written. */
const givingUp: ActivityOptions = {
  heartbeatTimeout: '5s',
  startToCloseTimeout: '2m',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' },
};

const { undoCall } = proxyActivities<UndoActivities>(undoing);
const { undoCall: giveUp } = proxyActivities<UndoActivities>(givingUp);

/**
 * Undoes effects of a run, one after the other in the order given. Never stops half-way: each is tried, whatever became
 * of the others, and cancelling changes nothing, as half an undo is worse than none or all of it.
 */
export async function undoRun(input: UndoInput): Promise<UndoOutput> {
  return await CancellationScope.nonCancellable(async () => {
    const came: UndoState[] = [];
    for (const call of input.calls) came.push(await undoOne(input, call));
    const count = (state: UndoState): number => came.filter((each) => each === state).length;
    return { undone: count('undone'), refused: count('refused'), unknown: count('unknown') };
  });
}

async function undoOne({ tenant, run, undo }: UndoInput, call: string): Promise<UndoState> {
  const input = { tenant, run, undo, call };
  try {
    return (await undoCall.executeWithOptions({ ...undoing, summary: `undo ${call}` }, [input])).state;
  } catch (error) {
    if (!(error instanceof ActivityFailure)) throw error;
    return (await giveUp({ ...input, giveUp: true })).state;
  }
}
