import { proxyActivities } from '@temporalio/workflow';
import type { BareActivities, LoopInput } from './loops.ts';

const { say, take, nothing } = proxyActivities<BareActivities>({
  startToCloseTimeout: '1 minute',
  retry: { maximumAttempts: 5 },
});

/** A loop of turns with rows in Postgres, until the model is done, and nothing of Steward in it. */
export async function bareLoop({ run, turns }: LoopInput): Promise<void> {
  for (let turn = 1; turn <= turns + 1; turn += 1) {
    const { calls } = await say({ run, turn });
    if (calls === 0) return;
    await take({ run, turn });
  }
}

/** What two activities cost that do nothing. */
export async function floorLoop({ turns }: LoopInput): Promise<void> {
  for (let turn = 1; turn <= turns; turn += 1) {
    await nothing();
    await nothing();
  }
}
