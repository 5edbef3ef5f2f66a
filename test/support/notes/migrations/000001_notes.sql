-- A catalog for tests: notes, and nothing else.
create table notes (
  tenant text not null,
  id text not null,
  folder text not null,
  text text not null,
  primary key (tenant, id)
);
alter table notes enable row level security;
alter table notes force row level security;
create policy own_tenant on notes using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select, insert, update, delete on notes to steward_notes;
