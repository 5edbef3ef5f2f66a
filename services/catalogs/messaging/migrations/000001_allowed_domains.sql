-- Where a tenant's agents may send mail. Exact domains, lower case, ASCII (xn-- for others); changed by the catalog's
-- operators, never by the catalog's own process.

create table allowed_domains (
  tenant text not null,
  domain text not null check (length(domain) <= 253 and domain ~ '^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$'),
  added_at timestamptz not null default now(),
  primary key (tenant, domain)
);

alter table allowed_domains enable row level security;
alter table allowed_domains force row level security;
create policy own_tenant on allowed_domains using (tenant = current_tenant()) with check (tenant = current_tenant());

grant select on allowed_domains to steward_messaging;
