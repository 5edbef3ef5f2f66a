import type { Generated } from 'kysely';

/** The catalog's tables as kysely sees them; migrations/ is the truth. */
export interface ProjectsTables {
  projects: {
    tenant: string;
    id: string;
    name: string;
    status: 'active' | 'closed';
    client_name: string | null;
    client_email: string | null;
    created_at: Generated<Date>;
  };
  project_members: { tenant: string; project_id: string; member: string };
  tasks: {
    tenant: string;
    id: string;
    project_id: string;
    title: string;
    status: TaskStatus;
    assignee: string | null;
    labels: Generated<string[]>;
    notes: Generated<string>;
    deleted_at: Date | null;
    version: Generated<number>;
    created_at: Generated<Date>;
  };
  task_activity: { tenant: string; id: Generated<number>; task_id: string; actor: string; action: string; key: string };
}

export const TASK_STATUSES = ['open', 'in_progress', 'in_review', 'done'] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];
