import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { sql, type Transaction } from 'kysely';
import type {
  GetBlastRadiusRequest,
  GetBlastRadiusResponseSchema,
  RecordImpactSchema,
  RunImpactSchema,
  ToolImpactSchema,
} from '#gen/steward/incident/v1/incident_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';

const LONGEST_MS = 92 * 86_400_000;
const MOST = 1_000;

/** Over the tenant's calls that had an effect, may have had one, or are having it. */
export async function getBlastRadius(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetBlastRadiusRequest,
): Promise<MessageInitShape<typeof GetBlastRadiusResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const scope = scopeOf(request);
  return withTenant(deps.db, tenant, async (trx) => {
    const data = { ...scope, from: scope.from.toISOString(), to: scope.to.toISOString() };
    await audit(trx, tenant, { actor: subject, action: 'incident.blast_radius', data });
    const tools = await toolImpacts(trx, scope);
    const { records, inAll } = await recordImpacts(trx, scope);
    const { runs, users, list } = await runImpacts(trx, scope);
    return { tenant, runs, users, tools, records, recordsInAll: inAll, runList: list };
  });
}

interface Scope {
  readonly from: Date;
  readonly to: Date;
  readonly agent: string;
  readonly tool: string;
  readonly user: string;
  readonly run: string;
}

function scopeOf(request: GetBlastRadiusRequest): Scope {
  const checks = new Checks();
  const from = checks.time('from', request.from);
  const to = checks.time('to', request.to);
  checks.that(request.from !== undefined, 'from', 'is needed');
  checks.that(request.to !== undefined, 'to', 'is needed');
  const ms = from === undefined || to === undefined ? 1 : to.getTime() - from.getTime();
  checks.that(ms > 0 && ms <= LONGEST_MS, 'to', 'must be later than from, by at most 92 days');
  checks.line('agent', request.agent, { max: 100 });
  checks.line('tool', request.tool, { max: 100 });
  checks.line('acting_user', request.actingUser, { max: 200 });
  if (request.runId !== '') checks.runId(request.runId);
  checks.done();
  const { agent, tool, actingUser: user, runId: run } = request;
  return { from, to, agent, tool, user, run } as Scope;
}

/** The calls meant, with what has become of each. Outside: the effect is not in the catalog's own transaction. */
function touched({ from, to, agent, tool, user, run }: Scope) {
  return sql`
    with touched as materialized (
      select i.run_id, i.call_id, i.catalog, i.tool, i.tool_hash, i.state, i.undoable, i.change, i.started_at,
        r.agent, r.agent_hash, r.acting_user, r.status,
        exists (select from agent_run_undo_steps u
          where u.run_id = i.run_id and u.call_id = i.call_id and u.state = 'undone') as undone
      from agent_run_tool_invocations i join agent_runs r on r.id = i.run_id
      where i.has_effect and i.state in ('done', 'outcome_unknown', 'started')
        and i.started_at >= ${from} and i.started_at < ${to}
        and (${agent} = '' or r.agent = ${agent}) and (${tool} = '' or i.tool = ${tool})
        and (${user} = '' or r.acting_user = ${user}) and (${run} = '' or i.run_id = ${run}))`;
}

async function toolImpacts(
  trx: Transaction<Database>,
  scope: Scope,
): Promise<MessageInitShape<typeof ToolImpactSchema>[]> {
  const { rows } = await sql<Record<string, string> & { outside: boolean }>`
    ${touched(scope)}, classes as (
      select distinct t.tool_hash, one ->> 'effectClass' as class
      from (select distinct agent, agent_hash, tool_hash from touched) t
        join agents a on a.name = t.agent and a.hash = t.agent_hash,
        lateral jsonb_array_elements(a.tools) one
      where one ->> 'hash' = t.tool_hash)
    select t.catalog, t.tool, coalesce(bool_or(c.class <> 'transactional'), true) as outside,
      count(*) filter (where state = 'done') as done,
      count(*) filter (where state = 'done' and undoable and not undone) as undoable,
      count(*) filter (where state = 'done' and undone) as undone,
      count(*) filter (where state = 'done' and not undoable) as final,
      count(*) filter (where state = 'outcome_unknown') as unknown,
      count(*) filter (where state = 'started') as running
    from touched t left join classes c on c.tool_hash = t.tool_hash
    group by 1, 2 order by 4 desc, 1, 2 limit ${MOST}`.execute(trx);
  return rows.map((row) => ({
    catalog: row.catalog ?? '',
    tool: row.tool ?? '',
    outside: row.outside,
    done: BigInt(row.done ?? 0),
    undoable: BigInt(row.undoable ?? 0),
    undone: BigInt(row.undone ?? 0),
    final: BigInt(row.final ?? 0),
    unknown: BigInt(row.unknown ?? 0),
    running: BigInt(row.running ?? 0),
  }));
}

async function recordImpacts(trx: Transaction<Database>, scope: Scope) {
  const { rows } = await sql<{ catalog: string; record: string; changes: string; run: string; at: Date; all: string }>`
    ${touched(scope)}, changed as (
      select distinct catalog, run_id, call_id, started_at, field ->> 'record' as record
      from touched, lateral json_array_elements(coalesce(change -> 'fields', '[]')) field where state = 'done')
    select catalog, record, count(*) as changes, (array_agg(run_id order by started_at desc))[1] as run,
      max(started_at) as at, count(*) over () as all
    from changed where record is not null
    group by 1, 2 order by 3 desc, 5 desc, 2 limit ${MOST}`.execute(trx);
  const records = rows.map(
    (row): MessageInitShape<typeof RecordImpactSchema> => ({
      catalog: row.catalog,
      record: row.record,
      changes: BigInt(row.changes),
      lastRunId: row.run,
      lastAt: timestampFromDate(row.at),
    }),
  );
  return { records, inAll: BigInt(rows[0]?.all ?? 0) };
}

async function runImpacts(trx: Transaction<Database>, scope: Scope) {
  const { rows } = await sql<Record<string, string>>`
    ${touched(scope)}
    select run_id, agent, acting_user, status, count(*) as effects,
      count(*) filter (where state = 'done' and undoable and not undone) as undoable,
      count(*) over () as runs, (select count(distinct acting_user) from touched) as users
    from touched group by 1, 2, 3, 4 order by min(started_at), 1 limit ${MOST}`.execute(trx);
  const list = rows.map(
    (row): MessageInitShape<typeof RunImpactSchema> => ({
      runId: row.run_id ?? '',
      agent: row.agent ?? '',
      actingUser: row.acting_user ?? '',
      status: row.status ?? '',
      effects: BigInt(row.effects ?? 0),
      undoable: BigInt(row.undoable ?? 0),
    }),
  );
  return { runs: BigInt(rows[0]?.runs ?? 0), users: BigInt(rows[0]?.users ?? 0), list };
}
