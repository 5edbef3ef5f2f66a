import { z } from 'zod';
import { defineTool, status, task, taskId, WRITE } from '../schemas.ts';
import { changeTask, requireTask, requireUnchanged, toTask } from '../store.ts';
import type { TaskStatus } from '../tables.ts';

/** Sets a task's status; undone by setting it back. */
export const updateTaskStatus = defineTool({
  ...WRITE,
  name: 'update_task_status',
  description: 'Sets the status of a task: open, in_progress, in_review or done.',
  input: z.strictObject({ task_id: taskId, status }),
  output: z.strictObject({ task }),
  effect: 'transactional',
  risk: 'cautious',
  resourceKeys: ['task/{task_id}'],
  async preview(ctx, args) {
    const before = await requireTask(ctx, args.task_id);
    const record = `task/${before.id}`;
    const field = { record, field: 'status', before: before.status, after: args.status };
    return { ...describe(before, args.status), fields: before.status === args.status ? [] : [field] };
  },
  async execute(ctx, args) {
    const before = await requireTask(ctx, args.task_id, { lock: true });
    const { row, fields } = await changeTask(ctx, before, { status: args.status }, `status ${args.status}`);
    return { result: { task: toTask(row) }, change: { ...describe(before, args.status), fields } };
  },
  async undo(ctx, { args, change }) {
    const was = change.fields.find((field) => field.field === 'status')?.before as TaskStatus | undefined;
    if (was === undefined) return { summary: 'nothing to undo: the status was the same', fields: [], quantities: {} };
    const before = await requireTask(ctx, args.task_id, { lock: true });
    requireUnchanged(change, before);
    const { fields } = await changeTask(ctx, before, { status: was }, `status back to ${was}`);
    return { ...describe(before, was), fields };
  },
});

function describe(before: { readonly id: string; readonly title: string; readonly status: string }, next: string) {
  return { summary: `"${before.title}" (${before.id}): ${before.status} -> ${next}`, quantities: {} };
}
