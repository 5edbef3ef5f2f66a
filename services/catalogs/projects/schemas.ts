import { z } from 'zod';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import type { DatabaseContext } from '#catalog-kit/tool.ts';
import { type ProjectsTables, TASK_STATUSES } from './tables.ts';

/** `defineTool` for tools over this catalog's tables. */
export const defineTool = toolsOver<ProjectsTables>();
export type Context = DatabaseContext<ProjectsTables>;

export const projectId = z.string().min(1).max(40).describe('The id of a project, as list_projects gives it.');
export const taskId = z.string().min(1).max(40).describe('The id of a task, as list_tasks_in_project gives it.');
export const status = z.enum(TASK_STATUSES);
export const title = z.string().min(1).max(200);
export const notes = z.string().max(4_000);
export const label = z.string().min(1).max(40);
export const labels = z.array(label).max(20);
export const member = z.string().min(1).max(200);

export const project = z.strictObject({
  id: z.string(),
  name: z.string(),
  status: z.enum(['active', 'closed']),
  client_name: z.string().nullable(),
  client_email: z.string().nullable(),
});

export const task = z.strictObject({
  id: z.string(),
  project_id: z.string(),
  title: z.string(),
  status,
  assignee: z.string().nullable(),
  labels: z.array(z.string()),
  notes: z.string(),
});
export type Task = z.output<typeof task>;

/** What every tool of this catalog that writes has in common. */
export const WRITE = { version: '1', labels: ['writes'], permissions: ['projects:write'] } as const;
/** What every tool that reads has in common. Titles and notes are written by anybody. */
export const READ = {
  version: '1',
  risk: 'safe',
  labels: ['reads_private', 'reads_untrusted'],
  permissions: ['projects:read'],
} as const;
