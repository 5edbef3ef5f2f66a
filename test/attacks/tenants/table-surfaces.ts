import pg from 'pg';
import { urlFor } from '#deploy/dev/schema.ts';
import { ROLES } from '#deploy/dev/secrets.ts';
import type { TestStack } from '#test/support/stack.ts';
import { tenantTables } from './lint.ts';
import type { Report } from './suite.ts';
import { RIVAL, type Victim } from './victim.ts';

/** `insufficient_privilege`: no grant, or the row is another tenant's. */
const REFUSED = '42501';

/** Tries to read, change, remove and add the victim's rows of every table, as every process's role. */
export async function attackTables(test: TestStack, victim: Victim, report: Report): Promise<void> {
  const tables = await tenantTables(test.query);
  for (const role of Object.values(ROLES)) {
    const connectionString = urlFor(test.stack.databaseUrl, role, test.stack.secrets.passwords[role] ?? '');
    const client = new pg.Client({ connectionString, statement_timeout: 10_000 });
    await client.connect();
    try {
      for (const { name, column } of tables) {
        const [row] = await test.query<{ row: object }>(
          `select to_jsonb(t) as row from ${name} t where ${column} = $1 limit 1`,
          [victim.tenant],
        );
        for (const tenant of [RIVAL, '']) {
          for (const [verb, leak] of await tryAll(client, name, column, tenant, victim.tenant, row?.row)) {
            report.add({ surface: name, as: `${role}, ${verb}, ${tenant === '' ? 'no tenant' : 'foreign'}`, leak });
          }
        }
      }
    } finally {
      await client.end();
    }
  }
}

async function tryAll(
  client: pg.Client,
  table: string,
  column: string,
  tenant: string,
  victim: string,
  row: object | undefined,
): Promise<readonly (readonly [string, string | null])[]> {
  const read = (text: string) => attempt(client, tenant, text, [victim], 'reads');
  const change = (text: string, values: unknown[]) => attempt(client, tenant, text, values, 'changes');
  return [
    ['select', await read(`select 1 from ${table} where ${column} = $1`)],
    // Without a tenant in the question: what is there to see is all the same.
    ['select all', await attempt(client, tenant, `select 1 from ${table} t where t.${column} <> $1`, [RIVAL], 'reads')],
    ['update', await change(`update ${table} set ${column} = ${column} where ${column} = $1`, [victim])],
    ['delete', await change(`delete from ${table} where ${column} = $1`, [victim])],
    ...(row === undefined
      ? []
      : [
          [
            'insert',
            await change(
              `insert into ${table} overriding system value select * from jsonb_populate_record(null::${table}, $1)`,
              [JSON.stringify(row)],
            ),
          ] as const,
        ]),
  ];
}

/** What leaked, or null. Everything is rolled back. */
async function attempt(
  client: pg.Client,
  tenant: string,
  text: string,
  values: unknown[],
  what: 'reads' | 'changes',
): Promise<string | null> {
  await client.query('begin');
  try {
    await client.query("select set_config('app.tenant', $1, true)", [tenant]);
    const { rowCount } = await client.query(text, values);
    return rowCount === 0 || rowCount === null ? null : `it ${what} ${rowCount} rows`;
  } catch (error) {
    const code = (error as { code?: string }).code ?? '';
    // Any other refusal came after row-level security had let the row pass.
    return code === REFUSED ? null : `it got as far as ${code} ${error instanceof Error ? error.message : ''}`;
  } finally {
    await client.query('rollback');
  }
}
