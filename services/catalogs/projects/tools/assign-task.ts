import { z } from 'zod';
import { refuse } from '#catalog-kit/refusal.ts';
import { defineTool, member, task, taskId, WRITE } from '../schemas.ts';
import { changeTask, isMember, requireTask, requireUnchanged, toTask } from '../store.ts';

/** Gives a task to somebody, or to nobody; undone by giving it back. */
export const assignTask = defineTool({
  ...WRITE,
  name: 'assign_task',
  description: 'Assigns a task to a member of its project, or to nobody with null.',
  input: z.strictObject({ task_id: taskId, assignee: member.nullable() }),
  output: z.strictObject({ task }),
  effect: 'transactional',
  risk: 'cautious',
  resourceKeys: ['task/{task_id}'],
  async execute(ctx, { task_id, assignee }) {
    const before = await requireTask(ctx, task_id, { lock: true });
    if (assignee !== null && !(await isMember(ctx, before.project_id, assignee))) {
      throw refuse('ASSIGNEE_NOT_A_MEMBER', `${assignee} is not a member of the project ${before.project_id}.`);
    }
    const { row, fields } = await changeTask(ctx, before, { assignee }, `assigned to ${assignee ?? 'nobody'}`);
    return { result: { task: toTask(row) }, change: { ...describe(before, assignee), fields } };
  },
  async undo(ctx, { args, change }) {
    const field = change.fields.find((one) => one.field === 'assignee');
    if (field === undefined)
      return { summary: 'nothing to undo: the assignee was the same', fields: [], quantities: {} };
    const before = await requireTask(ctx, args.task_id, { lock: true });
    requireUnchanged(change, before);
    const was = (field.before ?? null) as string | null;
    const { fields } = await changeTask(ctx, before, { assignee: was }, `given back to ${was ?? 'nobody'}`);
    return { ...describe(before, was), fields };
  },
});

type Before = { readonly id: string; readonly title: string; readonly assignee: string | null };

function describe(before: Before, next: string | null) {
  return {
    summary: `"${before.title}" (${before.id}): ${before.assignee ?? 'nobody'} -> ${next ?? 'nobody'}`,
    quantities: {},
  };
}
