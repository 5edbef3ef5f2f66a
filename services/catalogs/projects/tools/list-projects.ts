import { z } from 'zod';
import { defineTool, project, READ } from '../schemas.ts';

const MOST = 200;

/** The projects of the acting user. */
export const listProjects = defineTool({
  ...READ,
  name: 'list_projects',
  description:
    'Lists the projects you are a member of, with their ids, status and client. Start here: other tools need ids.',
  input: z.strictObject({}),
  output: z.strictObject({ projects: z.array(project) }),
  effect: 'none',
  async execute(ctx) {
    const rows = await ctx.db
      .selectFrom('projects')
      .innerJoin('project_members', (join) =>
        join
          .onRef('project_members.project_id', '=', 'projects.id')
          .onRef('project_members.tenant', '=', 'projects.tenant'),
      )
      .select(['projects.id', 'name', 'status', 'client_name', 'client_email'])
      .where('member', '=', ctx.user)
      .orderBy('name')
      .orderBy('projects.id')
      .limit(MOST)
      .execute();
    return { projects: rows.filter((row) => ctx.mayTouch(`project/${row.id}`)) };
  },
});
