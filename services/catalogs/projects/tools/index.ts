import type { Tool } from '#catalog-kit/tool.ts';
import { assignTask } from './assign-task.ts';
import { createTask } from './create-task.ts';
import { deleteTask } from './delete-task.ts';
import { getTask } from './get-task.ts';
import { listProjects } from './list-projects.ts';
import { listTasksInProject } from './list-tasks-in-project.ts';
import { updateTaskStatus } from './update-task-status.ts';

/** The tools of the projects catalog. */
export const projectsTools: readonly Tool[] = [
  listProjects,
  listTasksInProject,
  getTask,
  createTask,
  updateTaskStatus,
  assignTask,
  deleteTask,
];
