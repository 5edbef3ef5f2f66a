import { sql } from 'kysely';
import { withTenant } from '#platform/database/tenant.ts';
import type { GuardDeps } from '../deps.ts';
import type { SwitchRow } from './message.ts';
import { inScope, tenantsOf } from './tell.ts';

/** What of a switch's scope is not known to have stopped. */
export interface Unconfirmed {
  readonly calls: number;
  readonly runs: number;
}

/** Runs that were open when the switch was set and have not stopped, and their calls that are not resolved. */
export async function unconfirmed(deps: GuardDeps, one: SwitchRow): Promise<Unconfirmed> {
  if (one.mode === 'safe_mode') return { calls: 0, runs: 0 };
  const total = { calls: 0, runs: 0 };
  const goesOn =
    one.action === 'cancel'
      ? sql`true`
      : one.action === 'pause'
        ? sql`(r.paused_by is null and r.status <> 'budget_exceeded' and r.cancel_requested_by is null
            or exists (select from agent_run_costs c where c.run_id = r.id and c.state = 'reserved'))`
        : sql`false`;
  const tool = one.scope === 'tool' ? sql`and i.tool = ${one.target}` : sql``;
  for (const tenant of await tenantsOf(deps, one)) {
    const row = await withTenant(deps.db, tenant, async (trx) => {
      const { rows } = await sql<{ runs: number; calls: number }>`
        select count(*) filter (where ${goesOn})::int as runs, coalesce(sum((
            select count(*) from agent_run_tool_invocations i
            where i.run_id = r.id and i.state in ('started', 'outcome_unknown') ${tool}))::int, 0) as calls
        from agent_runs r
        where r.closed_at is null and r.created_at <= ${one.set_at} and ${inScope(one)}`.execute(trx);
      return rows[0];
    });
    total.runs += row?.runs ?? 0;
    total.calls += row?.calls ?? 0;
  }
  return total;
}

/** Calls that were in flight when the switch was set and have their end: aborted, and such as took effect all the same. */
export async function resolvedCalls(
  deps: GuardDeps,
  one: SwitchRow,
): Promise<{ readonly aborted: number; readonly done: number }> {
  const total = { aborted: 0, done: 0 };
  if (one.mode === 'safe_mode') return total;
  const tool = one.scope === 'tool' ? sql`i.tool = ${one.target}` : inScope(one);
  for (const tenant of await tenantsOf(deps, one)) {
    const row = await withTenant(deps.db, tenant, async (trx) => {
      const { rows } = await sql<{ done: number; aborted: number }>`
        select count(*) filter (where i.state = 'done')::int as done,
          count(*) filter (where i.state <> 'done')::int as aborted
        from agent_runs r join agent_run_tool_invocations i on i.tenant = r.tenant and i.run_id = r.id
        where (r.closed_at is null or r.closed_at >= ${one.set_at}) and ${tool}
          and i.started_at <= ${one.set_at} and i.ended_at >= ${one.set_at}`.execute(trx);
      return rows[0];
    });
    total.done += row?.done ?? 0;
    total.aborted += row?.aborted ?? 0;
  }
  return total;
}
