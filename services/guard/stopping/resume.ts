import { sql, type Transaction } from 'kysely';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import { standingAgainst, withSwitches } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import type { GuardDeps } from '../deps.ts';
import type { SwitchRow } from './message.ts';
import { tenantsOf } from './tell.ts';

const PAGE = 100;

/**
 * Lets the runs that a lifted switch has paused go on, but those that another one stands against: they are that one's from
 * then on. Returns how many go on. Safe to repeat.
 */
export async function resumePaused(deps: GuardDeps, one: SwitchRow, by: string): Promise<number> {
  let resumed = 0;
  const mark = `kill switch ${one.id}:`;
  for (const tenant of await tenantsOf(deps, one)) {
    for (let after = ''; ; ) {
      const done = await withSwitches(deps.db, tenant, async (trx) => {
        const { rows } = await sql<Paused>`
          select r.id, r.agent, r.acting_user, r.paused_by, r.waits_until, exists (select from agent_run_events e where e.run_id = r.id and e.kind = 'run.started') as began
          from agent_runs r
          where r.closed_at is null and r.paused_by is not null and r.id > ${after} and starts_with((
            -- What it was paused for last: somebody may have let it go on, and something else stopped it.
            select e.data ->> 'reason' from agent_run_events e where e.run_id = r.id and e.kind = 'run.paused'
            order by e.sequence desc limit 1), ${mark})
          order by r.id limit ${PAGE} for no key update of r`.execute(trx);
        const outbox: number[] = [];
        let going = 0;
        for (const run of rows) {
          const { id, began } = run;
          const other = await standingAgainst(trx, { agent: run.agent, actingUser: run.acting_user, id });
          if (other) {
            await keepPaused(trx, tenant, run, { other: other.id, lifted: one.id, by });
            continue;
          }
          going += 1;
          await trx
            .updateTable('agent_runs')
            .set({ paused_by: null, waits_until: null })
            .set({
              status: sql`case when status <> 'paused' then status when open_approvals > 0 then 'awaiting_approval'
                when ${began}::boolean then 'running' else 'pending' end`,
            })
            .where('id', '=', id)
            .execute();
          await audit(trx, tenant, { actor: by, action: 'run.resume', run: id, data: { switch: one.id } });
          await record(trx, tenant, id, { events: [{ kind: 'run.resumed', data: { by } }] });
          outbox.push(await enqueue(trx, tenant, { kind: 'resume', runId: id, payload: { by } }));
        }
        return { ids: rows.map((row) => row.id), outbox, going };
      });
      await deps.deliver(tenant, done.outbox);
      for (const id of done.ids) deps.notifier.wake(id);
      resumed += done.going;
      if (done.ids.length < PAGE) break;
      after = done.ids.at(-1) ?? '';
    }
  }
  return resumed;
}

interface Paused {
  readonly id: string;
  readonly agent: string;
  readonly acting_user: string;
  readonly paused_by: string;
  readonly waits_until: Date | null;
  readonly began: boolean;
}

/** Writes down which switch a paused run waits for now, so that lifting that one lets it go on. */
async function keepPaused(
  trx: Transaction<Database>,
  tenant: string,
  run: Paused,
  { other, lifted, by }: { readonly other: string; readonly lifted: string; readonly by: string },
): Promise<void> {
  const reason = `kill switch ${other}: still stands, where switch ${lifted} was lifted`;
  await audit(trx, tenant, { actor: by, action: 'run.pause', run: run.id, data: { reason } });
  const until = run.waits_until?.getTime() ?? 0;
  await record(trx, tenant, run.id, { events: [{ kind: 'run.paused', data: { by: run.paused_by, reason, until } }] });
}
