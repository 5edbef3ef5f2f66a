import { z } from 'zod';
import { fieldChanges } from '#catalog-kit/change.ts';
import { defineTool, taskId, WRITE } from '../schemas.ts';
import { changeTask, fieldsOf, requireTask, requireUnchanged } from '../store.ts';

const ONE_ROW = { 'rows.deleted': 1 } as const;

/** Deletes a task; undone by bringing back exactly what was there. */
export const deleteTask = defineTool({
  ...WRITE,
  name: 'delete_task',
  description: 'Deletes a task. People are asked before it happens. It can be undone.',
  input: z.strictObject({ task_id: taskId }),
  output: z.strictObject({ deleted: z.literal(true), task_id: z.string() }),
  effect: 'transactional',
  risk: 'destructive',
  resourceKeys: ['task/{task_id}'],
  quantities: ['rows.deleted=1'],
  async preview(ctx, { task_id }) {
    const before = await requireTask(ctx, task_id);
    return { ...describe(before), fields: fieldChanges(`task/${before.id}`, fieldsOf(before), null) };
  },
  async execute(ctx, { task_id }) {
    const before = await requireTask(ctx, task_id, { lock: true });
    const { fields } = await changeTask(ctx, before, { deleted_at: new Date() }, 'deleted');
    return { result: { deleted: true as const, task_id }, change: { ...describe(before), fields } };
  },
  async undo(ctx, { args, change }) {
    const before = await requireTask(ctx, args.task_id, { lock: true, deleted: true });
    requireUnchanged(change, before);
    const { row, fields } = await changeTask(ctx, before, { deleted_at: null }, 'restored');
    return { summary: `restore task "${row.title}" (${row.id})`, fields, quantities: {} };
  },
});

function describe(task: { readonly id: string; readonly title: string }) {
  return { summary: `delete task "${task.title}" (${task.id})`, quantities: ONE_ROW };
}
