import type { Kysely, Transaction } from 'kysely';
import { unreadOf } from '#domain/messages.ts';
import type { CloseStore, RunRef } from '#domain/ports/run-store.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { lockRemainders } from './accounts.ts';
import { startQueued } from './admission.ts';
import { alarmsOf } from './alarms.ts';
import { openedCalls, toOpened } from './calls.ts';
import { investigateEnd } from './investigations.ts';
import { type NewEvent, record } from './journal.ts';
import { chargeDead, runCost } from './ledger.ts';
import { unreadAtEnd } from './messages.ts';
import type { Notifier } from './notify.ts';
import { closeQuantities } from './quantities.ts';
import { refundRun } from './refunds.ts';
import { lockRun, type RunRow, readRun, verifyRow } from './run-row.ts';
import type { StoredMessage } from './steps.ts';
import { cutText, storableText } from './storable.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

export interface CloseStoreDeps {
  readonly db: Kysely<Database>;
  readonly grants: RunGrantVerifier;
  readonly notifier: Pick<Notifier, 'wake'>;
}

/** The end of a run in Postgres. */
export function createCloseStore(deps: CloseStoreDeps): CloseStore {
  return {
    async startedCalls(ref) {
      const rows = await withTenant(deps.db, ref.tenant, (trx) =>
        openedCalls(trx, ref).where('i.state', 'in', ['started', 'outcome_unknown']).orderBy('i.call_id').execute(),
      );
      const first = rows[0];
      if (first) await verifyRow(deps.grants, ref, first, { expired: true });
      return rows.map((row) => ({ ...toOpened(row), callId: row.call_id }));
    },

    async close(ref, end) {
      const closed = await withTenant(deps.db, ref.tenant, async (trx) => {
        const run = await readRun(trx, ref);
        await verifyRow(deps.grants, ref, run, { expired: true });
        await lockRemainders(trx, ref.tenant, ref.run, new Date());
        const before = await lockRun(trx, ref);
        const unread =
          end.mayGoOn && !before.closed_at ? unreadOf({ sent: before.messages_sent, read: before.messages_read }) : 0;
        const promoted = before.closed_at || unread > 0 ? [] : await writeEnd(trx, before, end);
        const after = await readRun(trx, ref);
        const cost = await runCost(trx, ref.run);
        return {
          costMicroUsd: cost.settled,
          steps: after.step_seq,
          unknown: await countUnknown(trx, ref),
          unread,
          promoted,
        };
      });
      deps.notifier.wake(ref.run);
      return closed;
    },
  };
}

async function writeEnd(
  trx: Transaction<Database>,
  run: RunRow,
  end: Parameters<CloseStore['close']>[1],
): Promise<readonly number[]> {
  const ref: RunRef = { tenant: run.tenant, run: run.id };
  const open = await trx
    .selectFrom('agent_run_costs')
    .select('attempt_id')
    .where('run_id', '=', ref.run)
    .where('state', '=', 'reserved')
    .execute();
  // No activity of the run is left: what has not settled died unobserved.
  const alarms: NewEvent[] = [];
  for (const attempt of open) {
    const { moved } = await chargeDead(trx, ref.tenant, ref.run, attempt.attempt_id);
    alarms.push(...(await alarmsOf(trx, ref, run, moved)));
  }
  await trx
    .updateTable('approvals')
    .set({ state: 'void' })
    .where('run_id', '=', ref.run)
    .where('state', '=', 'open')
    .execute();
  await trx
    .updateTable('agent_run_tool_invocations')
    .set({ state: 'cancelled', ended_at: new Date(), error_code: 'CANCELLED', error_message: 'The run closed first.' })
    .where('run_id', '=', ref.run)
    .where('state', '=', 'judged')
    .execute();
  await closeQuantities(trx, ref.run);
  const refunded = await refundRun(trx, ref, end.status);
  const outcome = end.status === 'completed' ? await lastWords(trx, ref) : '';
  const cost = await runCost(trx, ref.run);
  await record(trx, ref.tenant, ref.run, {
    events: [
      ...alarms,
      {
        kind: 'run.closed',
        data: {
          status: end.status,
          reason: end.reason,
          message: end.message,
          cost: cost.settled,
          ...(refunded === 0 ? {} : { refunded }),
          outcome,
          ...(await unreadAtEnd(trx, run)),
        },
      },
    ],
    audit: [
      {
        actor: 'steward',
        action: 'run.close',
        run: ref.run,
        costMicroUsd: cost.settled,
        data: { status: end.status, reason: end.reason },
      },
    ],
  });
  await trx
    .updateTable('agent_runs')
    .set({
      status: end.status,
      stop_reason: end.reason,
      stop_message: storableText(cutText(end.message, 2_000)),
      outcome: storableText(outcome),
      refunded_micro_usd: refunded,
      open_approvals: 0,
      waits_until: null,
      closed_at: new Date(),
    })
    .where('id', '=', ref.run)
    .execute();
  await investigateEnd(trx, run, end);
  await trx.deleteFrom('agent_run_text_deltas').where('run_id', '=', ref.run).execute();
  return startQueued(trx, ref.tenant);
}

/** The text of the model's last message. */
async function lastWords(trx: Transaction<Database>, ref: RunRef): Promise<string> {
  const row = await trx
    .selectFrom('agent_run_steps')
    .select('content')
    .where('run_id', '=', ref.run)
    .where('kind', '=', 'model_message')
    .orderBy('turn', 'desc')
    .limit(1)
    .executeTakeFirst();
  const blocks = (row?.content as StoredMessage | undefined)?.content ?? [];
  const text = blocks.flatMap((block) => (block.type === 'text' ? [block.text] : []));
  return cutText(text.join(''), 20_000);
}

async function countUnknown(trx: Transaction<Database>, ref: RunRef): Promise<number> {
  const row = await trx
    .selectFrom('agent_run_tool_invocations')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('run_id', '=', ref.run)
    .where('state', 'in', ['started', 'outcome_unknown'])
    .executeTakeFirstOrThrow();
  return Number(row.n);
}
