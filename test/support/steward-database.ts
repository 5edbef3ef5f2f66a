import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { migrate } from '#platform/database/migrate.ts';
import { type TestDatabase, testDatabase } from './postgres.ts';

/** A database of one test file with Steward's own tables. */
export interface StewardDatabase extends TestDatabase {
  /** A new tenant; what is left out is roomy. Returns its id. */
  tenant(settings?: Readonly<Record<string, unknown>>): Promise<string>;
  /** A run as run-api would have written it, `running`; overrides by column. Returns its id. */
  run(tenant: string, columns?: Readonly<Record<string, unknown>>): Promise<string>;
}

/** An empty database, migrated. */
export async function stewardDatabase(): Promise<StewardDatabase> {
  const database = await testDatabase();
  const directory = join(import.meta.dirname, '..', '..', 'platform', 'database', 'migrations');
  await migrate({ url: database.url, directory, schema: 'steward' });

  async function insert(table: string, columns: Readonly<Record<string, unknown>>): Promise<void> {
    const names = Object.keys(columns);
    const places = names.map((_, index) => `$${index + 1}`);
    await database.query(
      `insert into steward.${table} (${names.join(', ')}) values (${places.join(', ')})`,
      Object.values(columns),
    );
  }

  return {
    ...database,
    async tenant(settings = {}) {
      const id = `t-${randomBytes(5).toString('hex')}`;
      const roomy = {
        tier: 'pro',
        month_budget_micro_usd: 100_000_000,
        max_concurrent_runs: 100,
        max_runs_per_day: 1_000,
      };
      await insert('tenants', { id, ...roomy, ...settings });
      return id;
    },
    async run(tenant, columns = {}) {
      const id = `r${randomBytes(10).toString('hex')}`;
      const limits = { modelCalls: 20, toolCalls: 50, toolCallsPerTurn: 10, tokens: 1_000_000, activeMs: 3_600_000 };
      const waits = { approvalMs: 60_000, budgetMs: 60_000, pauseMs: 60_000 };
      await insert('agent_runs', {
        tenant,
        id,
        request_id: id,
        request_digest: '0'.repeat(64),
        agent: 'helper',
        agent_hash: 'a'.repeat(64),
        acting_user: 'ann@acme',
        started_by: 'shop@acme',
        input: 'Do it.',
        tools: JSON.stringify({}),
        limits: JSON.stringify(limits),
        waits: JSON.stringify(waits),
        model: 'offline-1',
        max_output_tokens: 1_000,
        run_grant: 'none',
        status: 'running',
        admitted_at: new Date(),
        workflow_started_at: new Date(),
        ...columns,
      });
      return id;
    },
  };
}
