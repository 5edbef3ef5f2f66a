import { sql } from 'kysely';
import { z } from 'zod';
import { refuse } from '#catalog-kit/refusal.ts';
import { defineTool, label, member, projectId, READ, status, task } from '../schemas.ts';
import { requireProject, toTask } from '../store.ts';

const PAGE = 25;
const MAX_PAGE = 50;

const input = z.strictObject({
  project_id: projectId,
  status: status.optional(),
  assignee: member.optional(),
  label: label.optional(),
  page_size: z.int().min(1).max(MAX_PAGE).optional().describe(`Tasks per page; ${PAGE} unless said otherwise.`),
  page_token: z.string().max(200).optional().describe('next_page_token of the page before.'),
});

/** A page of a project's tasks. */
export const listTasksInProject = defineTool({
  ...READ,
  name: 'list_tasks_in_project',
  description:
    'Lists the tasks of a project in pages, by id. Narrow it by status, assignee or label. Where next_page_token is ' +
    'not null there are more: call again with it and the same filters.',
  input,
  output: z.strictObject({ tasks: z.array(task), next_page_token: z.string().nullable() }),
  effect: 'none',
  resourceKeys: ['project/{project_id}'],
  async execute(ctx, args) {
    await requireProject(ctx, args.project_id);
    const size = args.page_size ?? PAGE;
    const { status, assignee, label } = args;
    const after = args.page_token === undefined ? undefined : readToken(args.page_token);
    const rows = await ctx.db
      .selectFrom('tasks')
      .selectAll()
      .where('project_id', '=', args.project_id)
      .where('deleted_at', 'is', null)
      .$if(status !== undefined, (query) => query.where('status', '=', status as NonNullable<typeof status>))
      .$if(assignee !== undefined, (query) => query.where('assignee', '=', assignee as string))
      .$if(label !== undefined, (query) => query.where(sql<boolean>`${label} = any (labels)`))
      .$if(after !== undefined, (query) => query.where('id', '>', after as string))
      .orderBy('id')
      .limit(size + 1)
      .execute();
    const page = rows.slice(0, size);
    const last = page.at(-1);
    return { tasks: page.map(toTask), next_page_token: rows.length > size && last ? writeToken(last.id) : null };
  },
});

function writeToken(id: string): string {
  return Buffer.from(`after:${id}`).toString('base64url');
}

function readToken(token: string): string {
  const text = Buffer.from(token, 'base64url').toString('utf8');
  if (text.startsWith('after:') && writeToken(text.slice(6)) === token) return text.slice(6);
  throw refuse('PAGE_TOKEN_INVALID', 'page_token must be the next_page_token of the page before, as it was given.');
}
