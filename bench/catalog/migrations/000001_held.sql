-- What the benchmark's slow tool writes before it waits: a cancelled call must leave nothing here.
create table held (
  tenant text not null,
  id text not null,
  primary key (tenant, id)
);
alter table held enable row level security;
alter table held force row level security;
create policy own_tenant on held using (tenant = current_tenant()) with check (tenant = current_tenant());
do $$
begin
  execute format('grant select, insert, delete on held to %I', 'steward_' || current_schema());
end
$$;
