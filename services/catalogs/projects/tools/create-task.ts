import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { fieldChanges } from '#catalog-kit/change.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import { defineTool, labels, member, notes, projectId, task, title, WRITE } from '../schemas.ts';
import {
  changeTask,
  fieldsOf,
  isMember,
  noteActivity,
  requireProject,
  requireTask,
  requireUnchanged,
  toTask,
} from '../store.ts';

/** Adds a task; undone by deleting it again. */
export const createTask = defineTool({
  ...WRITE,
  name: 'create_task',
  description: 'Adds an open task to a project. The assignee, if there is one, must be a member of the project.',
  input: z.strictObject({
    project_id: projectId,
    title,
    assignee: member.optional(),
    labels: labels.optional(),
    notes: notes.optional(),
  }),
  output: z.strictObject({ task }),
  effect: 'transactional',
  risk: 'cautious',
  resourceKeys: ['project/{project_id}'],
  async execute(ctx, args) {
    await requireProject(ctx, args.project_id);
    if (args.assignee !== undefined && !(await isMember(ctx, args.project_id, args.assignee))) {
      throw refuse('ASSIGNEE_NOT_A_MEMBER', `${args.assignee} is not a member of the project ${args.project_id}.`);
    }
    const row = await ctx.db
      .insertInto('tasks')
      .values({
        tenant: ctx.tenant,
        id: `${args.project_id.slice(0, 20)}-${randomUUID().slice(0, 8)}`,
        project_id: args.project_id,
        title: args.title,
        status: 'open',
        assignee: args.assignee ?? null,
        labels: args.labels ?? [],
        notes: args.notes ?? '',
      })
      .returningAll()
      .executeTakeFirstOrThrow();
    await noteActivity(ctx, row.id, 'created');
    const fields = fieldChanges(`task/${row.id}`, null, fieldsOf(row));
    return {
      result: { task: toTask(row) },
      change: { summary: `create task "${row.title}" (${row.id})`, fields, quantities: {} },
    };
  },
  async undo(ctx, { result, change }) {
    const before = await requireTask(ctx, result.task.id, { lock: true, deleted: true });
    requireUnchanged(change, before);
    const { fields } = await changeTask(ctx, before, { deleted_at: new Date() }, 'creation undone');
    return { summary: `remove the created task "${before.title}" (${before.id})`, fields, quantities: {} };
  },
});
