import type { TestStack } from '#test/support/stack.ts';

/** One thing in the database that lets a tenant's rows be read or met by others. */
export interface Hole {
  readonly what: 'table' | 'role' | 'view' | 'function' | 'unique';
  readonly name: string;
  readonly why: string;
}

type Query = TestStack['query'];

const SYSTEM = `('pg_catalog', 'information_schema', 'pg_toast', 'public')`;

/**
 * Tables without a tenant that everybody's processes may read, with what is in them. A table that is neither here nor has
 * a tenant is a hole.
 */
const SHARED: Readonly<Record<string, string>> = {
  'steward.tenants': 'its id is the tenant',
  'steward.tiers': 'what each tier gives; the same for all tenants',
  'steward.product_settings': 'what the whole product may spend',
  'steward.product_months': 'what the whole product may spend in a month',
  'steward.product_accounts': 'sums over all tenants; no row says anything of one of them',
  'steward.product_entries': 'what was added to the product; shown to the platform tenant only',
  'steward.product_samples': 'sums over all tenants; shown to the platform tenant only',
  'steward.product_alarms': 'about sums over all tenants; shown to the platform tenant only',
  'steward.tenant_directory': 'ids only, for sweepers that go tenant by tenant',
};

/** Ids that Steward makes at random: that one is taken can only be learnt by who knows it. */
const UNGUESSABLE = /^(id|run_id|attempt_id|key|approval_id|undo_id)$/;

/** Tables of a tenant's rows: those with a column for it, and the tenants themselves. */
export async function tenantTables(query: Query): Promise<readonly { name: string; column: string }[]> {
  return query<{ name: string; column: string }>(`
    select n.nspname || '.' || c.relname as name,
      case when n.nspname || '.' || c.relname in ('steward.tenants', 'steward.tenant_directory') then 'id' else 'tenant' end as column
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname not in ${SYSTEM} and n.nspname not like 'pg_%'
      and (exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped)
        or n.nspname || '.' || c.relname = 'steward.tenants')
    order by 1`);
}

/**
 * What the database's own catalogue says against its tenants' separation: tables without forced row-level security, roles
 * that bypass it, views and functions that run as their owner, unique constraints over values a tenant has chosen.
 */
export async function lint(query: Query): Promise<readonly Hole[]> {
  const holes: Hole[] = [];
  const tables = await query<{ name: string; own: boolean; rls: boolean; forced: boolean; policies: number }>(`
    select n.nspname || '.' || c.relname as name, c.relrowsecurity as rls, c.relforcerowsecurity as forced,
      exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped) as own,
      (select count(*)::int from pg_policy p where p.polrelid = c.oid and p.polpermissive) as policies
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f', 'm') and n.nspname not in ${SYSTEM} and n.nspname not like 'pg_%'
      and c.relname not like '%migrations%'
    order by 1`);
  for (const { name, own, rls, forced, policies } of tables) {
    const needs = own || name === 'steward.tenants';
    if (!needs && SHARED[name] === undefined) {
      holes.push({ what: 'table', name, why: 'it has no tenant and is not listed as shared' });
    } else if (needs && !(rls && forced && policies > 0)) {
      const missing = !rls ? 'no row-level security' : forced ? 'no policy' : 'row-level security that is not forced';
      holes.push({ what: 'table', name, why: `a tenant's rows under ${missing}` });
    }
  }
  const open = await query<{ name: string; policy: string }>(`
    select n.nspname || '.' || c.relname as name, p.polname as policy
    from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
    where p.polpermissive and n.nspname not in ${SYSTEM}
      and (pg_get_expr(p.polqual, p.polrelid) !~ 'current_tenant'
        or pg_get_expr(p.polwithcheck, p.polrelid) !~ 'current_tenant'
        or coalesce(p.polqual, p.polwithcheck) is null)`);
  for (const { name, policy } of open) {
    holes.push({ what: 'table', name, why: `its policy ${policy} does not ask for the tenant` });
  }
  const roles = await query<{ name: string }>(`
    select rolname as name from pg_roles where rolname like 'steward%' and (rolsuper or rolbypassrls)
    union select pg_get_userbyid(c.relowner) from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname not in ${SYSTEM} and pg_get_userbyid(c.relowner) like 'steward%' and c.relkind in ('r', 'v', 'm')`);
  for (const { name } of roles)
    holes.push({ what: 'role', name, why: 'it bypasses row-level security or owns tables' });
  const views = await query<{ name: string }>(`
    select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('v', 'm') and n.nspname not in ${SYSTEM} and n.nspname not like 'pg_%'
      and not coalesce(c.reloptions @> '{security_invoker=true}', false)`);
  for (const { name } of views) holes.push({ what: 'view', name, why: 'it reads as its owner' });
  const functions = await query<{ name: string }>(`
    select n.nspname || '.' || p.proname as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.prosecdef and n.nspname not in ${SYSTEM} and n.nspname not like 'pg_%'`);
  for (const { name } of functions) holes.push({ what: 'function', name, why: 'it runs as its owner' });
  const uniques = await query<{ name: string; columns: string[] }>(`
    select n.nspname || '.' || c.relname as name, array(select pg_get_indexdef(i.indexrelid, k, true)
      from generate_series(1, i.indnkeyatts) k) as columns
    from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
    where i.indisunique and n.nspname not in ${SYSTEM} and n.nspname not like 'pg_%'
      and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped)`);
  for (const { name, columns } of uniques) {
    if (columns.includes('tenant') || columns.some((column) => UNGUESSABLE.test(column))) continue;
    holes.push({ what: 'unique', name, why: `(${columns.join(', ')}) is unique across tenants` });
  }
  return holes;
}
