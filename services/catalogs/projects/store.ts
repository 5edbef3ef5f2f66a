import type { Selectable } from 'kysely';
import { fieldChanges, standsAsChanged } from '#catalog-kit/change.ts';
import { forbid, refuse } from '#catalog-kit/refusal.ts';
import type { JsonObject } from '#domain/json.ts';
import type { Change } from '#domain/tools.ts';
import type { Context, Task } from './schemas.ts';
import type { ProjectsTables } from './tables.ts';

type TaskRow = Selectable<ProjectsTables['tasks']>;

/** Refuses a project that is not there, that the run is narrowed away from, or that the user is no member of. */
export async function requireProject(ctx: Context, projectId: string): Promise<void> {
  ctx.requireResource(`project/${projectId}`);
  const found = await ctx.db
    .selectFrom('projects')
    .leftJoin('project_members', (join) =>
      join
        .onRef('project_members.project_id', '=', 'projects.id')
        .onRef('project_members.tenant', '=', 'projects.tenant')
        .on('project_members.member', '=', ctx.user),
    )
    .select(['projects.id', 'project_members.member'])
    .where('projects.id', '=', projectId)
    .executeTakeFirst();
  if (found === undefined) {
    throw refuse('PROJECT_NOT_FOUND', `There is no project ${projectId}. list_projects gives the ids.`);
  }
  if (found.member === null) {
    throw forbid('NOT_A_MEMBER', `${ctx.user} is not a member of the project ${projectId}.`);
  }
}

/** Whether somebody is a member of a project. */
export async function isMember(ctx: Context, projectId: string, member: string): Promise<boolean> {
  const found = await ctx.db
    .selectFrom('project_members')
    .select('member')
    .where('project_id', '=', projectId)
    .where('member', '=', member)
    .executeTakeFirst();
  return found !== undefined;
}

/**
 * A task the user may see. With `lock`, nobody else changes it until the transaction ends; with `deleted`, a deleted one
 * is found too. Refuses with TASK_NOT_FOUND, NOT_A_MEMBER, RESOURCE_DENIED.
 */
export async function requireTask(
  ctx: Context,
  taskId: string,
  options: { readonly lock?: boolean; readonly deleted?: boolean } = {},
): Promise<TaskRow> {
  const row = await ctx.db
    .selectFrom('tasks')
    .selectAll()
    .where('id', '=', taskId)
    .$if(options.deleted !== true, (query) => query.where('deleted_at', 'is', null))
    .$if(options.lock === true, (query) => query.forUpdate())
    .executeTakeFirst();
  if (row === undefined) {
    throw refuse('TASK_NOT_FOUND', `There is no task ${taskId}. list_tasks_in_project gives the ids.`);
  }
  await requireProject(ctx, row.project_id);
  return row;
}

/** A task as tools show it. */
export function toTask(row: TaskRow): Task {
  const { id, project_id, title, status, assignee, labels, notes } = row;
  return { id, project_id, title, status, assignee, labels, notes };
}

/** What of a task is there before it is made and after it is deleted: nothing; else its own fields. */
export function fieldsOf(row: TaskRow | null): JsonObject | null {
  if (row === null || row.deleted_at !== null) return null;
  const { id: _, ...fields } = toTask(row);
  return fields;
}

/** Writes fields of a task, notes it in the task's activity, and returns the task with what changed. */
export async function changeTask(
  ctx: Context,
  before: TaskRow,
  set: Partial<Pick<TaskRow, 'status' | 'assignee' | 'deleted_at'>>,
  action: string,
): Promise<{ readonly row: TaskRow; readonly fields: Change['fields'] }> {
  const row = await ctx.db
    .updateTable('tasks')
    .set({ ...set, version: before.version + 1 })
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow();
  await noteActivity(ctx, row.id, action);
  return { row, fields: fieldChanges(`task/${row.id}`, fieldsOf(before), fieldsOf(row)) };
}

/** One row per effect, in the effect's transaction. */
export async function noteActivity(ctx: Context, taskId: string, action: string): Promise<void> {
  const { tenant, user, key } = ctx;
  await ctx.db.insertInto('task_activity').values({ tenant, task_id: taskId, actor: user, action, key }).execute();
}

/** Refuses an undo where a task is no longer as the change left it. */
export function requireUnchanged(change: Change, row: TaskRow): void {
  if (standsAsChanged(change, `task/${row.id}`, fieldsOf(row))) return;
  throw refuse('CHANGED_SINCE', `The task ${row.id} was changed since, so this cannot be undone. Look at it first.`);
}
