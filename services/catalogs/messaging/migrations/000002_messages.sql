-- What runs have told the users they act for. A message that was taken back keeps its row, unseen.

create table messages (
  tenant text not null,
  id bigint generated always as identity primary key,
  user_id text not null,
  run_id text not null,
  body text not null check (length(body) between 1 and 4000),
  -- Of the call that sent it: one row per effect.
  key text not null,
  sent_at timestamptz not null default now(),
  retracted_at timestamptz
);
create index messages_of_user on messages (tenant, user_id, id desc) where retracted_at is null;
alter table messages enable row level security;
alter table messages force row level security;
create policy own_tenant on messages using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select, insert on messages to steward_messaging;
grant update (retracted_at) on messages to steward_messaging;
