import { sql } from 'kysely';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { GuardDeps } from '../deps.ts';
import type { SwitchRow } from './message.ts';
import { tenantsOf } from './tell.ts';

const PAGE = 100;

/** Lets the runs that a lifted switch has paused go on. Returns how many. Safe to repeat. */
export async function resumePaused(deps: GuardDeps, one: SwitchRow, by: string): Promise<number> {
  let resumed = 0;
  const mark = `kill switch ${one.id}:`;
  for (const tenant of await tenantsOf(deps, one)) {
    for (let after = ''; ; ) {
      const done = await withTenant(deps.db, tenant, async (trx) => {
        const { rows } = await sql<{ id: string; began: boolean }>`
          select r.id, exists (select from agent_run_events e where e.run_id = r.id and e.kind = 'run.started') as began
          from agent_runs r
          where r.closed_at is null and r.paused_by is not null and r.id > ${after} and starts_with((
            -- What it was paused for last: somebody may have let it go on, and something else stopped it.
            select e.data ->> 'reason' from agent_run_events e where e.run_id = r.id and e.kind = 'run.paused'
            order by e.sequence desc limit 1), ${mark})
          order by r.id limit ${PAGE} for no key update of r`.execute(trx);
        const outbox: number[] = [];
        for (const { id, began } of rows) {
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
        return { ids: rows.map((row) => row.id), outbox };
      });
      await deps.deliver(tenant, done.outbox);
      for (const id of done.ids) deps.notifier.wake(id);
      resumed += done.ids.length;
      if (done.ids.length < PAGE) break;
      after = done.ids.at(-1) ?? '';
    }
  }
  return resumed;
}
