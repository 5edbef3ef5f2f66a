import type pg from 'pg';
import type { BareActivities } from './loops.ts';

/** Where the loops keep their rows. */
export const BARE_SCHEMA = 'bench_bare';

/** The tables of the bare loop, as SQL. */
export const BARE_TABLES = `
  drop schema if exists ${BARE_SCHEMA} cascade;
  create schema ${BARE_SCHEMA};
  create table ${BARE_SCHEMA}.steps (
    run text not null, number int not null, content jsonb not null, at timestamptz not null default now(),
    primary key (run, number));
  create table ${BARE_SCHEMA}.effects (
    run text not null, turn int not null, title text not null, at timestamptz not null default now(),
    primary key (run, turn));`;

/** About as long as what the scripted model says. */
const SAID = 'x'.repeat(200);

/** The activities of the bare loop, each one transaction. Both may be repeated. */
export function bareActivities(pool: pg.Pool): BareActivities {
  const step = `insert into ${BARE_SCHEMA}.steps (run, number, content) values ($1, $2, $3) on conflict do nothing`;
  return {
    async say({ run, turn }) {
      const said = await pool.query(`select content from ${BARE_SCHEMA}.steps where run = $1 order by number`, [run]);
      const content = JSON.stringify({ role: 'assistant', text: SAID, after: said.rows.length });
      await pool.query(step, [run, 2 * turn - 1, content]);
      return { calls: 1 };
    },

    async take({ run, turn }) {
      const effect = `insert into ${BARE_SCHEMA}.effects (run, turn, title) values ($1, $2, $3) on conflict do nothing`;
      const client = await pool.connect();
      try {
        await client.query('begin');
        await client.query(effect, [run, turn, `effect ${turn}`]);
        await client.query(step, [run, 2 * turn, JSON.stringify({ role: 'tool', text: SAID })]);
        await client.query('commit');
      } catch (error) {
        await client.query('rollback').catch(() => undefined);
        throw error;
      } finally {
        client.release();
      }
      return { outcome: 'done' };
    },

    async nothing() {},
  };
}
