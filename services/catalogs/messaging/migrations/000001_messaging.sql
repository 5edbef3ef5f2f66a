-- Whom a tenant's agents may write to. The kit's own tables and current_tenant() are in this schema already.

create table allowed_domains (
  tenant text not null,
  -- As DNS knows it: lower case, international names in their xn-- form. Subdomains are domains of their own.
  domain text not null check (domain = lower(domain) and domain ~ '^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$'),
  primary key (tenant, domain)
);
alter table allowed_domains enable row level security;
alter table allowed_domains force row level security;
create policy own_tenant on allowed_domains using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select on allowed_domains to steward_messaging;
