-- What makes the audit log evident to tampering: the exact bytes of each entry, and a chain over them per tenant.

alter table steward.audit_log
  -- The canonical bytes (RFC 8785) that are hashed. They name people only by `personal`, a salted hash.
  add column entry text,
  -- Salt of that hash. Erasing a person empties salt, actor and data, and leaves the bytes and the chain as they are.
  add column salt bytea,
  add column tool text,
  -- Of the transaction that wrote it: what is older than every open one is certainly all there.
  add column xid xid8 not null default pg_current_xact_id(),
  alter column actor drop not null,
  alter column data drop not null,
  alter column data drop default,
  add constraint audit_log_has_bytes check (entry is not null) not valid;
create index audit_log_fresh on steward.audit_log (tenant, xid);
create index audit_log_run on steward.audit_log (tenant, run_id, id) where run_id is not null;

-- Insert-only. `number` is the order of sealing, which is the order in which entries were seen committed.
create table steward.audit_chain (
  tenant text not null,
  number bigint not null check (number > 0),
  audit_id bigint not null,
  prev bytea not null check (length(prev) = 32),
  hash bytea not null check (length(hash) = 32),
  sealed_at timestamptz not null default now(),
  primary key (tenant, number),
  unique (tenant, audit_id)
);

-- Where each tenant's chain ends; its lock lets one sealer in at a time.
create table steward.audit_heads (
  tenant text primary key references steward.tenants (id),
  number bigint not null default 0,
  hash bytea not null default decode(repeat('00', 32), 'hex'),
  -- All entries of older transactions are sealed.
  sealed_below xid8 not null default '0',
  anchored_number bigint not null default 0,
  anchored_at timestamptz
);

do $$
declare
  t text;
begin
  foreach t in array array['audit_chain', 'audit_heads']
  loop
    execute format('alter table steward.%I enable row level security', t);
    execute format('alter table steward.%I force row level security', t);
    execute format('create policy own_tenant on steward.%I using (tenant = steward.current_tenant()) '
      'with check (tenant = steward.current_tenant())', t);
  end loop;
end
$$;

grant select on steward.audit_chain, steward.audit_heads to steward_run_api, steward_worker;
grant insert on steward.audit_chain, steward.audit_heads to steward_worker;
grant update (number, hash, sealed_below, anchored_number, anchored_at) on steward.audit_heads to steward_worker;
