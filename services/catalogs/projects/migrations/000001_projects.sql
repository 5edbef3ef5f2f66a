-- Projects and their tasks. The kit's own tables and current_tenant() are in this schema already.

create table projects (
  tenant text not null,
  id text not null check (id ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
  name text not null,
  status text not null check (status in ('active', 'closed')),
  client_name text,
  client_email text,
  created_at timestamptz not null default now(),
  primary key (tenant, id)
);

create table project_members (
  tenant text not null,
  project_id text not null,
  member text not null,
  primary key (tenant, project_id, member),
  foreign key (tenant, project_id) references projects (tenant, id) on delete cascade
);

create table tasks (
  tenant text not null,
  id text not null,
  project_id text not null,
  title text not null check (length(title) between 1 and 200),
  status text not null check (status in ('open', 'in_progress', 'in_review', 'done')),
  assignee text,
  labels text[] not null default '{}',
  notes text not null default '',
  -- A deleted task keeps its row, so that undo brings back exactly what was there.
  deleted_at timestamptz,
  version int not null default 1,
  created_at timestamptz not null default now(),
  primary key (tenant, id),
  foreign key (tenant, project_id) references projects (tenant, id) on delete cascade
);
create index tasks_of_project on tasks (tenant, project_id, id) where deleted_at is null;

-- What was done to tasks, by whom, under which key: one row per effect.
create table task_activity (
  tenant text not null,
  id bigint generated always as identity primary key,
  task_id text not null,
  actor text not null,
  action text not null,
  key text not null,
  at timestamptz not null default now(),
  foreign key (tenant, task_id) references tasks (tenant, id) on delete cascade
);
create index task_activity_of_task on task_activity (tenant, task_id, id);

do $$
declare
  t text;
begin
  foreach t in array array['projects', 'project_members', 'tasks', 'task_activity']
  loop
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy own_tenant on %I using (tenant = current_tenant()) '
      'with check (tenant = current_tenant())', t);
  end loop;
end
$$;

grant select on projects, project_members to steward_projects;
grant select, insert on tasks, task_activity to steward_projects;
grant update (title, status, assignee, labels, notes, deleted_at, version) on tasks to steward_projects;
