/** `node seed.ts --tenant acme [--reset]` with DATABASE_URL of a role that owns the schema: the demo's projects. */

import { parseArgs } from 'node:util';
import { sql } from 'kysely';
import { runTask } from '#platform/config/process.ts';
import { readConfig, urlOf } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { DEMO_PROJECTS } from './demo-data.ts';
import { PROJECTS_SCHEMA } from './service.ts';
import type { ProjectsTables } from './tables.ts';

export interface SeedOptions {
  readonly tenant: string;
  /** Puts the demo's projects back as they were at first, with their tasks; everything else stays. */
  readonly reset?: boolean;
}

/** Adds the demo's projects where they are missing, in one transaction. Safe to repeat and with many at once. */
export async function seedProjects(url: string, options: SeedOptions): Promise<void> {
  const { tenant } = options;
  const { db, close } = connect<ProjectsTables>(url, { name: 'steward-seed', schema: PROJECTS_SCHEMA, max: 1 });
  const ids = DEMO_PROJECTS.map((project) => project.id);
  try {
    await withTenant(db, tenant, async (trx) => {
      await sql`select pg_advisory_xact_lock(hashtext('steward.seed.projects'))`.execute(trx);
      if (options.reset === true) {
        await trx.deleteFrom('projects').where('tenant', '=', tenant).where('id', 'in', ids).execute();
      }
      for (const { tasks, members, ...project } of DEMO_PROJECTS) {
        const made = await trx
          .insertInto('projects')
          .values({ ...project, tenant, status: 'active' })
          .onConflict((conflict) => conflict.columns(['tenant', 'id']).doNothing())
          .returning('id')
          .executeTakeFirst();
        if (made === undefined) continue;
        const people = members.map((member) => ({ tenant, project_id: project.id, member }));
        await trx.insertInto('project_members').values(people).execute();
        const rows = tasks.map((task) => ({
          ...task,
          tenant,
          project_id: project.id,
          labels: [...(task.labels ?? [])],
        }));
        await trx.insertInto('tasks').values(rows).execute();
      }
    });
  } finally {
    await close();
  }
}

if (import.meta.main) {
  await runTask(async () => {
    const { values } = parseArgs({
      options: { tenant: { type: 'string', default: 'acme' }, reset: { type: 'boolean', default: false } },
    });
    const { DATABASE_URL } = readConfig({ DATABASE_URL: urlOf(['postgres', 'postgresql'], 'as owner of the schema') });
    await seedProjects(DATABASE_URL, values);
  });
}
