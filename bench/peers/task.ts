import pg from 'pg';
import type { NewTask } from './agent.ts';

/** A variable that the benchmark sets. */
export function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} must be set; npm run bench:peers sets it.`);
  return value;
}

/** The tool's effect in Postgres: one row by run and call, so that a repeat changes nothing. */
export function taskTable(): {
  create(run: string, call: string, task: NewTask): Promise<string>;
  end(): Promise<void>;
} {
  const pool = new pg.Pool({ connectionString: setting('DATABASE_URL') });
  pool.on('error', () => {});
  return {
    async create(run, call, { project_id, title }) {
      const insert = `insert into effects (run, call, project, title) values ($1, $2, $3, $4) on conflict do nothing`;
      await pool.query(insert, [run, call, project_id, title]);
      return JSON.stringify({ task: { id: `${run}-${call}`, title, status: 'open' } });
    },
    end: () => pool.end(),
  };
}
