-- How long entries are kept, and who may let go of what.

-- Days that a tenant of the tier keeps its entries.
alter table steward.tiers add column audit_days int not null default 2557 check (audit_days between 1 and 36500);
update steward.tiers set audit_days = case name when 'free' then 90 when 'pro' then 365 else 2557 end;

-- Up to here the bytes were let go of, as a signed statement in the other store says.
alter table steward.audit_heads add column pruned_number bigint not null default 0;
grant update (pruned_number) on steward.audit_heads to steward_worker;

-- The worker removes what has outlived its tier, and nothing younger, whatever it is told to.
create policy only_outlived on steward.audit_log as restrictive for delete to steward_worker
  using (tenant = steward.current_tenant() and at < now() - (select t.audit_days * interval '1 day'
    from steward.tenants n join steward.tiers t on t.name = n.tier where n.id = audit_log.tenant));
grant delete on steward.audit_log to steward_worker;

-- run-api empties what names a person, and writes nothing else there.
create policy erase_only on steward.audit_log as restrictive for update to steward_run_api
  using (tenant = steward.current_tenant())
  with check (tenant = steward.current_tenant() and actor is null and data is null and salt is null);
grant update (actor, data, salt) on steward.audit_log to steward_run_api;
