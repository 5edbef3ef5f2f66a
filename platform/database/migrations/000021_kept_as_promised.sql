-- A tenant's entries are kept as long as the longest tier it has ever had says: a change of tier lets go of nothing.
alter table steward.tenants add column audit_days int;

create function steward.keep_audit_days() returns trigger
  language plpgsql
  as $$
begin
  new.audit_days := greatest(case when tg_op = 'UPDATE' then old.audit_days end, new.audit_days,
    (select t.audit_days from steward.tiers t where t.name = new.tier));
  return new;
end
$$;
create trigger keep_audit_days before insert or update on steward.tenants
  for each row execute function steward.keep_audit_days();
alter table steward.tenants no force row level security;
update steward.tenants set tier = tier;
alter table steward.tenants force row level security;
alter table steward.tenants alter column audit_days set not null;

drop policy only_outlived on steward.audit_log;
create policy only_outlived on steward.audit_log as restrictive for delete to steward_worker
  using (tenant = steward.current_tenant() and at < now() - (select greatest(n.audit_days, 90) * interval '1 day'
    from steward.tenants n where n.id = audit_log.tenant));

-- What says that others were erased stays.
drop policy erase_only on steward.audit_log;
create policy erase_only on steward.audit_log as restrictive for update to steward_run_api
  using (tenant = steward.current_tenant() and action <> 'audit.erase')
  with check (tenant = steward.current_tenant() and actor is null and data is null and salt is null);
