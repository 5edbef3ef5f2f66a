import { type SelectQueryBuilder, type SqlBool, sql, type Transaction } from 'kysely';
import type { Database } from '#platform/database/tables.ts';
import type { Place } from '../pages.ts';

/**
 * Filters that few runs may pass and no index answers: row-level security lets an index be asked with leakproof operators
 * only, and neither the containment of labels nor the likeness of texts is one.
 */
export interface Sparse {
  readonly tenant: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Empty: any. */
  readonly tool: string;
  /** All must stand in the input or in the outcome. */
  readonly words: readonly string[];
}

/** Runs that one search looks at, so that what it costs does not grow with the tenant. */
export const LOOKED_AT = 2_000;

type Dense = SelectQueryBuilder<Database & { r: Database['agent_runs'] }, 'r', object>;

/**
 * The first `size` runs of `dense`, in its order, that pass the sparse filters, and where to go on: behind the last one, or
 * behind the last one that was looked at. `next` is undefined where there is nothing more.
 */
export async function findRuns(
  trx: Transaction<Database>,
  dense: Dense,
  sparse: Sparse,
  size: number,
): Promise<{ readonly ids: readonly string[]; readonly next: Place | undefined }> {
  const conditions = conditionsOf(sparse);
  const at = sql<string>`r.created_at::text`.as('at');
  let query = trx
    .selectFrom(
      dense
        .select(['r.id', 'r.created_at', 'r.input', 'r.outcome', 'r.labels'])
        .limit(conditions.length > 0 ? LOOKED_AT : size + 1)
        .as('r'),
    )
    .select(['r.id', at])
    .orderBy('r.created_at', 'desc')
    .orderBy('r.id', 'desc')
    .limit(size + 1);
  for (const condition of conditions) query = query.where(condition);
  const found = await query.execute();
  const ids = found.slice(0, size).map((run) => run.id);
  if (found.length > size) return { ids, next: found[size - 1] };
  if (conditions.length === 0) return { ids, next: undefined };
  const [last, more] = await dense
    .select(['r.id', at])
    .offset(LOOKED_AT - 1)
    .limit(2)
    .execute();
  return { ids, next: more === undefined ? undefined : last };
}

function conditionsOf({ tenant, labels, tool, words }: Sparse) {
  const conditions = words.map((word) => {
    const like = `%${word.replace(/[\\%_]/g, '\\$&')}%`;
    return sql<SqlBool>`(r.input ilike ${like} or r.outcome ilike ${like})`;
  });
  if (Object.keys(labels).length > 0) conditions.push(sql<SqlBool>`r.labels @> ${JSON.stringify(labels)}::jsonb`);
  if (tool !== '') {
    conditions.push(sql<SqlBool>`exists (select from agent_run_tool_invocations i
      where i.tenant = ${tenant} and i.tool = ${tool} and i.run_id = r.id and i.started_at is not null)`);
  }
  return conditions;
}
