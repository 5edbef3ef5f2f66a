import type pg from 'pg';

/** Tables of a run with the column that names it, and the columns that must be new in a copy. */
const TABLES: readonly {
  readonly table: string;
  readonly run: string;
  readonly own?: Readonly<Record<string, string>>;
}[] = [
  { table: 'agent_runs', run: 'id', own: { request_id: 'copy.id' } },
  { table: 'agent_run_steps', run: 'run_id' },
  { table: 'agent_run_tool_invocations', run: 'run_id', own: { key: "copy.id || '.' || made.call_id" } },
  { table: 'agent_run_costs', run: 'run_id', own: { attempt_id: 'gen_random_uuid()::text' } },
  { table: 'agent_run_events', run: 'run_id' },
];

/** What is looked up one by one comes in numbers that make an index worth it. */
const ACCOUNTS = 5_000;
const TASKS = 5_000;

/**
 * Copies a closed run and gives a project tasks, so that tables hold as much as ones that have been in use. On empty
 * tables Postgres plans otherwise: it reads them whole, or takes all of a run for one row.
 */
export async function fillDatabase(database: pg.Pool, run: string, copies: number, project: string): Promise<void> {
  const client = await database.connect();
  try {
    await client.query('begin');
    for (const { table, run: column, own = {} } of TABLES) {
      const changed = Object.entries({ [column]: 'copy.id', ...own }).map(([name, value]) => `'${name}', ${value}`);
      await client.query(
        `insert into steward.${table}
         select (jsonb_populate_record(made, jsonb_build_object(${changed.join(', ')}))).*
         from steward.${table} made, (select 'bench-copy-' || n as id from generate_series(1, $2::int) n) copy
         where made.${column} = $1`,
        [run, copies],
      );
    }
    await client.query(
      `insert into steward.ledger_accounts (tenant, id, limit_micro_usd, reserved_micro_usd, settled_micro_usd)
       select tenant, 'run/bench-copy-' || n, limit_micro_usd, reserved_micro_usd, settled_micro_usd
       from steward.ledger_accounts, generate_series(1, $2::int) n where id = 'run/' || $1`,
      [run, ACCOUNTS],
    );
    await client.query(
      `insert into projects.tasks (tenant, id, project_id, title, status)
       select tenant, 'bench-copy-' || n, id, 'Task ' || n, 'open'
       from projects.projects, generate_series(1, $1::int) n where id = $2`,
      [TASKS, project],
    );
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
  await database.query('analyze');
}
