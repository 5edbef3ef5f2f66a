import { z } from 'zod';
import { defineTool, READ, task, taskId } from '../schemas.ts';
import { requireTask, toTask } from '../store.ts';

/** One task. */
export const getTask = defineTool({
  ...READ,
  name: 'get_task',
  description: 'Gives one task with its notes.',
  input: z.strictObject({ task_id: taskId }),
  output: z.strictObject({ task }),
  effect: 'none',
  resourceKeys: ['task/{task_id}'],
  async execute(ctx, { task_id }) {
    return { task: toTask(await requireTask(ctx, task_id)) };
  },
});
