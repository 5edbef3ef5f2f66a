-- Whether an alarm has been a line of the log.
alter table steward.budget_alarms add column told boolean not null default false;
create index budget_alarms_untold on steward.budget_alarms (tenant, id) where not told;
grant update (told) on steward.budget_alarms to steward_worker;
alter table steward.product_alarms add column told boolean not null default false;
grant update (told) on steward.product_alarms to steward_worker;
