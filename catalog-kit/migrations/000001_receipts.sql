-- What the kit keeps in a catalog's own schema: receipts and tombstones by idempotency key, and used grants.
--
-- The catalog's process runs as steward_<schema>, which owns nothing here and cannot bypass row-level security. What is
-- settled stays as it is: no policy lets that role change or remove a receipt or a tombstone.

do $$
declare
  role_name text := 'steward_' || current_schema();
begin
  perform pg_advisory_xact_lock(7483646);
  if not exists (select from pg_roles where rolname = role_name) then
    execute format('create role %I nologin', role_name);
  end if;
  execute format('grant usage on schema %I to %I', current_schema(), role_name);
end
$$;

create function current_tenant() returns text
  language sql stable
  as $$ select nullif(current_setting('app.tenant', true), '') $$;

-- One row per idempotency key. Kept as long as a run may repeat a call, so without end for now.
create table receipts (
  tenant text not null,
  key text not null,
  -- SHA-256 of the action record the key belongs to.
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  -- intent: an effect outside of this database was about to happen; done: it did; tombstone: it never will.
  state text not null check (state in ('intent', 'done', 'tombstone')),
  effect text check (effect in ('transactional', 'keyed', 'unkeyed')),
  tool text,
  -- Canonical bytes of the action record: where undo finds the arguments.
  action_record bytea,
  -- JSON text, whole.
  result text,
  change text,
  undoable boolean not null default false,
  -- Intents: which attempt is at it, and until when it is taken for alive.
  owner text,
  lease_until timestamptz,
  attempts int not null default 1,
  created_at timestamptz not null default now(),
  settled_at timestamptz,
  -- Tenant first: a key of another tenant is neither seen nor taken.
  primary key (tenant, key),
  check (state <> 'done' or (result is not null and change is not null)),
  check (state = 'tombstone' or (tool is not null and effect is not null and action_record is not null))
);
create index receipts_intents on receipts (tenant, lease_until) where state = 'intent';

-- One id, one key.
create table grants_used (
  tenant text not null,
  id text not null,
  key text not null,
  digest text not null,
  used_at timestamptz not null default now(),
  primary key (tenant, id)
);

alter table receipts enable row level security;
alter table receipts force row level security;
create policy read_own on receipts for select using (tenant = current_tenant());
create policy add_own on receipts for insert with check (tenant = current_tenant());
create policy settle_own on receipts for update using (tenant = current_tenant() and state = 'intent')
  with check (tenant = current_tenant());
create policy release_own on receipts for delete using (tenant = current_tenant() and state = 'intent');

alter table grants_used enable row level security;
alter table grants_used force row level security;
create policy own_tenant on grants_used using (tenant = current_tenant()) with check (tenant = current_tenant());

do $$
begin
  execute format('grant select, insert, delete on receipts to %I', 'steward_' || current_schema());
  execute format(
    'grant update (state, result, change, undoable, owner, lease_until, attempts, settled_at) on receipts to %I',
    'steward_' || current_schema());
  execute format('grant select, insert on grants_used to %I', 'steward_' || current_schema());
end
$$;
