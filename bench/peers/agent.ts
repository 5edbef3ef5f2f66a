/** What every peer's agent is told, and the one tool it has: the work of the benchmark's own agent. */

export const MODEL = 'offline-1';
export const MAX_TOKENS = 256;
export const SYSTEM = 'You file the tasks you are told to file, one in every turn.';
export const TOOL = { name: 'create_task', description: 'Adds an open task to a project.' } as const;

/** Arguments of the tool. */
export interface NewTask {
  readonly project_id: string;
  readonly title: string;
}
