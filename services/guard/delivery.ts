import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import type { Kysely } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { workflowIdOf } from '#domain/ids.ts';
import { DECIDE_APPROVAL, type DecideApprovalResult, type DecideApprovalSignal } from '#domain/run-workflow.ts';
import { markDelivered } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import type { Log } from '#platform/grpc/call.ts';
import type { Temporal } from '#platform/temporal/client.ts';
import { fromTemporal, textOfTemporal } from '#platform/temporal/client.ts';
import { deliver } from '#platform/temporal/outbox.ts';

/** One recorded answer on its way to its run. */
export interface Owed {
  readonly tenant: string;
  readonly run: string;
  /** Its row in the outbox, null where it is gone: what is not delivered here is delivered by the sweeper. */
  readonly outbox: number | null;
  readonly decision: string;
  readonly signal: DecideApprovalSignal;
}

/** Brings recorded answers to their runs. The answer stands, whatever becomes of the delivery. */
export interface Delivery {
  /** As a signal. Never throws; waits for a second at most, and goes on after that. */
  signal(owed: Owed): Promise<void>;
  /**
   * As an Update: true where the run has taken the answer over, false where it does not wait for it now. Throws DEADLINE
   * where it has not said so in time, UNAVAILABLE or INTERNAL where Temporal cannot be asked. The answer stays owed
   * unless it was taken over.
   */
  update(owed: Owed, deadline: Date): Promise<boolean>;
  /** What else is owed to a run, by its row in the outbox. Returns at once; what fails is left to the sweeper. */
  send(tenant: string, run: string, outbox: number): void;
  /** Settles when no signal is on its way: wait for it before Temporal's client is closed. */
  idle(): Promise<void>;
}

/** People see a question as it is committed, a moment before its run comes to wait for the answer. */
const ASKING_MS = 2_000;
const ASK_AGAIN_MS = 200;

export function temporalDelivery(deps: {
  readonly db: Kysely<Database>;
  readonly temporal: Temporal;
  readonly log: Log;
  /** How long `signal` keeps its caller. Default 1,000 ms. */
  readonly waitMs?: number;
}): Delivery {
  const waitMs = deps.waitMs ?? 1_000;
  const underWay = new Set<Promise<void>>();

  async function deliverNow(owed: { readonly tenant: string; readonly run: string }, outbox: number): Promise<void> {
    try {
      await deliver(deps, owed.tenant, [outbox]);
    } catch (error) {
      deps.log.warn({ run: owed.run, outbox, err: error }, 'left to the sweeper');
    }
  }

  function track(delivered: Promise<void>): Promise<void> {
    underWay.add(delivered);
    void delivered.then(() => underWay.delete(delivered));
    return delivered;
  }

  return {
    async idle() {
      await Promise.all(underWay);
    },

    send(tenant, run, outbox) {
      void track(deliverNow({ tenant, run }, outbox));
    },

    async signal(owed) {
      if (owed.outbox === null) return;
      const delivered = track(deliverNow(owed, owed.outbox));
      const enough = new AbortController();
      const waited = sleep(waitMs, undefined, { signal: enough.signal }).catch(() => {});
      await Promise.race([delivered, waited]);
      enough.abort();
    },

    async update(owed, deadline) {
      const handle = deps.temporal.client.workflow.getHandle(workflowIdOf(owed.run));
      const asksUntil = Math.min(Date.now() + ASKING_MS, deadline.getTime());
      const tell = async (): Promise<boolean> => {
        try {
          const result = await deps.temporal.within(deadline, () =>
            handle.executeUpdate<DecideApprovalResult, [DecideApprovalSignal]>(DECIDE_APPROVAL, {
              args: [owed.signal],
              // A repeat of the same answer gets the first one's outcome.
              updateId: owed.decision,
            }),
          );
          return result.applied;
        } catch (error) {
          if (error instanceof WorkflowUpdateFailedError) {
            deps.log.debug({ run: owed.run, err: textOfTemporal(error) }, 'the run does not wait for this answer');
            return false;
          }
          if (Date.now() < deadline.getTime()) throw fromTemporal(error);
          throw new StewardError(
            'DEADLINE',
            'The answer is recorded, and the run has not taken it over yet. It will.',
            { cause: error },
          );
        }
      };
      let applied = await tell();
      while (!applied && Date.now() < asksUntil) {
        await sleep(ASK_AGAIN_MS);
        applied = await tell();
      }
      if (applied && owed.outbox !== null) {
        const row = { id: owed.outbox, kind: 'decide_approval', run_id: owed.run, payload: {}, attempts: 0 } as const;
        await markDelivered(deps.db, owed.tenant, row, null).catch((error: unknown) =>
          deps.log.warn({ run: owed.run, outbox: owed.outbox, err: error }, 'answer will be delivered once more'),
        );
      }
      return applied;
    },
  };
}
