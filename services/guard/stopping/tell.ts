import { type RawBuilder, type SqlBool, sql, type Transaction } from 'kysely';
import { parseCallId } from '#domain/ids.ts';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import { mayNotPause, STOPPABLE, storeCancel, storePause } from '#platform/database/stopping.ts';
import type { Database } from '#platform/database/tables.ts';
import { listTenants, withTenant } from '#platform/database/tenant.ts';
import { refusalAnswer } from '../answers.ts';
import type { GuardDeps } from '../deps.ts';
import type { SwitchRow } from './message.ts';

/** Runs looked up at once; what they are owed is delivered page by page. */
const PAGE = 50;
/** Told side by side. */
const AT_ONCE = 8;

interface Told {
  cancelled: number;
  paused: number;
  voided: number;
}

type OneSwitch = Pick<SwitchRow, 'id' | 'tenant' | 'scope' | 'target' | 'action' | 'mode' | 'set_by' | 'reason'>;

/** The runs of a switch's scope, in a query on `agent_runs as r`. */
export function inScope(one: Pick<SwitchRow, 'scope' | 'target'>): RawBuilder<SqlBool> {
  switch (one.scope) {
    case 'product':
    case 'tenant':
      return sql`true`;
    case 'agent':
      return sql`r.agent = ${one.target}`;
    case 'user':
      return sql`r.acting_user = ${one.target}`;
    case 'run':
      return sql`r.id = ${one.target}`;
    case 'tool':
      return sql`exists (select from agent_run_tool_invocations i where i.tenant = r.tenant and i.run_id = r.id
        and i.tool = ${one.target} and i.state in ('judged', 'started', 'outcome_unknown'))`;
  }
}

/** The tenants a switch holds for. */
export async function tenantsOf(
  deps: Pick<GuardDeps, 'db'>,
  one: Pick<SwitchRow, 'scope' | 'tenant'>,
): Promise<string[]> {
  return one.scope === 'product' ? listTenants(deps.db) : [one.tenant];
}

/**
 * Tells every run of a switch's scope: cancels or pauses it, voids its open approvals, and delivers that to Temporal, some
 * side by side. What was told before is left alone, so it may be repeated and go on where another has ended. Where all
 * were told, writes that down with how many there were.
 */
export async function tellRuns(deps: GuardDeps, one: OneSwitch): Promise<Told> {
  const told: Told = { cancelled: 0, paused: 0, voided: 0 };
  let left = 0;
  const delivering: Promise<void>[] = [];
  if (one.mode === 'kill') {
    for (const tenant of await tenantsOf(deps, one)) {
      for (let after = ''; ; ) {
        const runs = await untold(deps, one, tenant, after);
        const owed: number[] = [];
        await inParallel(runs, async (run) => {
          try {
            owed.push(...(await tell(deps, one, tenant, run, told)));
          } catch (error) {
            left += 1;
            deps.log.warn({ run, switch: one.id, err: error }, 'a run could not be told of a kill switch yet');
          }
        });
        // Temporal takes its time, and the rows count at once: it is told while the next page is.
        delivering.push(deps.deliver(tenant, owed));
        if (runs.length < PAGE) break;
        after = runs.at(-1) ?? '';
      }
    }
  }
  await Promise.all(delivering);
  await withTenant(deps.db, one.tenant, (trx) =>
    trx
      .updateTable('kill_switches')
      .set((eb) => ({
        cancelled: eb('cancelled', '+', told.cancelled),
        paused: eb('paused', '+', told.paused),
        voided: eb('voided', '+', told.voided),
        ...(left === 0 ? { told_at: sql<Date>`coalesce(told_at, clock_timestamp())` } : {}),
      }))
      .where('id', '=', one.id)
      .execute(),
  );
  return told;
}

/** Open runs that this switch would still change, by id from behind `after` on. */
async function untold(deps: GuardDeps, one: OneSwitch, tenant: string, after: string): Promise<string[]> {
  const asking = sql`exists (select from approvals a where a.tenant = r.tenant and a.run_id = r.id and a.state = 'open')`;
  const wants =
    one.action === 'cancel' ? sql`true` : one.action === 'pause' ? sql`(r.paused_by is null or ${asking})` : asking;
  return withTenant(deps.db, tenant, async (trx) => {
    const { rows } = await sql<{ id: string }>`select r.id from agent_runs r
      where r.closed_at is null and r.id > ${after} and r.cancel_requested_by is null and ${inScope(one)} and ${wants}
      order by r.id limit ${PAGE}`.execute(trx);
    return rows.map((row) => row.id);
  });
}

/** Returns what Temporal is owed. Workers have heard of the switch itself. */
async function tell(
  deps: GuardDeps,
  one: OneSwitch,
  tenant: string,
  id: string,
  told: Told,
): Promise<readonly number[]> {
  const reason = `kill switch ${one.id}: ${one.reason}`.slice(0, 500);
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const run = await trx
      .selectFrom('agent_runs')
      .select([...STOPPABLE, 'closed_at'])
      .where('id', '=', id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!run || run.closed_at !== null || run.cancel_requested_by !== null) return null;
    const voided = await voidApprovals(trx, one, tenant, id);
    // What is queued does nothing yet and cannot pause; what it waits for is gone with the switch.
    const cancels = one.action === 'cancel' || (one.action === 'pause' && run.status === 'queued');
    if (cancels) {
      const { outbox } = await storeCancel(trx, run, one.set_by, reason);
      return { voided: voided.count, cancelled: 1, paused: 0, outbox };
    }
    const pauses = one.action === 'pause' && run.paused_by === null && mayNotPause(run) === null;
    const paused = pauses ? await storePause(trx, run, one.set_by, reason) : [];
    return {
      voided: voided.count,
      cancelled: 0,
      paused: pauses ? 1 : 0,
      outbox: [...paused, ...voided.outbox],
    };
  });
  if (!done) return [];
  told.cancelled += done.cancelled;
  told.paused += done.paused;
  told.voided += done.voided;
  deps.notifier.wake(id);
  return done.outbox;
}

/** Nobody is to answer them any more: the calls are denied, and a run that goes on hears of it. */
async function voidApprovals(
  trx: Transaction<Database>,
  one: OneSwitch,
  tenant: string,
  run: string,
): Promise<{ readonly count: number; readonly outbox: number[] }> {
  let query = trx.updateTable('approvals').set({ state: 'void' }).where('run_id', '=', run).where('state', '=', 'open');
  if (one.scope === 'tool') query = query.where('tool', '=', one.target);
  const rows = await query.returning(['id', 'call_id', 'tool', 'digest']).execute();
  if (rows.length === 0) return { count: 0, outbox: [] };
  await trx
    .updateTable('agent_runs')
    .set({ open_approvals: sql<number>`greatest(0, open_approvals - ${rows.length}::int)` })
    .set({
      status: sql`case when status = 'awaiting_approval' and open_approvals <= ${rows.length}::int
        then 'running' else status end`,
    })
    .where('id', '=', run)
    .execute();
  const outbox: number[] = [];
  const code = 'KILLED';
  const message = 'a kill switch voided the question before anyone answered it';
  for (const row of rows) {
    const turn = parseCallId(row.call_id)?.turn ?? 0;
    const call = await trx
      .updateTable('agent_run_tool_invocations')
      .set({ state: 'denied', error_code: code, error_message: message, ended_at: new Date() })
      .where('run_id', '=', run)
      .where('call_id', '=', row.call_id)
      .where('state', '=', 'judged')
      .returning(['provider_id', 'ordinal'])
      .executeTakeFirst();
    if (call) {
      const content = refusalAnswer({ callId: row.call_id, providerId: call.provider_id }, { code, message });
      await record(trx, tenant, run, {
        steps: [{ kind: 'tool_result', turn, callId: row.call_id, ordinal: call.ordinal, content }],
        events: [{ kind: 'tool.denied', turn, callId: row.call_id, data: { tool: row.tool, code, reason: message } }],
      });
    }
    await audit(trx, tenant, {
      actor: one.set_by,
      action: 'approval.void',
      run,
      call: row.call_id,
      digest: row.digest,
      data: { approval: row.id, switch: one.id },
    });
    const payload = { approvalId: row.id, digest: row.digest };
    if (one.action !== 'cancel')
      outbox.push(await enqueue(trx, tenant, { kind: 'decide_approval', runId: run, payload }));
  }
  return { count: rows.length, outbox };
}

async function inParallel(items: readonly string[], work: (item: string) => Promise<void>): Promise<void> {
  const queue = [...items];
  const workers = Array.from({ length: Math.min(AT_ONCE, queue.length) }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(workers);
}
