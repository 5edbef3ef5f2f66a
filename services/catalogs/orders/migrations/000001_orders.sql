-- Customers, products and their orders. The kit's own tables and current_tenant() are in this schema already.
-- Money is in whole cents everywhere.

create table products (
  tenant text not null,
  product_id text not null,
  name text not null,
  -- [{item_id, options: [{name, value}], available, price_cents}]
  variants jsonb not null,
  primary key (tenant, product_id),
  unique (tenant, name)
);
create index products_by_item on products using gin (variants jsonb_path_ops);

create table customers (
  tenant text not null,
  user_id text not null,
  first_name text not null,
  last_name text not null,
  email text not null,
  address jsonb not null,
  -- [{id, source, brand, last_four, balance_cents}]; only gift cards have a balance, and none goes below zero.
  payment_methods jsonb not null
    check (not jsonb_path_exists(payment_methods, '$[*] ? (@.balance_cents < 0)')),
  orders text[] not null,
  primary key (tenant, user_id)
);
create unique index customers_by_email on customers (tenant, lower(email));
create index customers_by_name on customers (tenant, lower(last_name), lower(first_name), (address ->> 'zip'));

create table orders (
  tenant text not null,
  order_id text not null,
  user_id text not null,
  address jsonb not null,
  status text not null check (status in ('pending', 'pending (item modified)', 'processed', 'delivered', 'cancelled',
    'exchange requested', 'return requested')),
  -- [{name, product_id, item_id, price_cents, options: [{name, value}]}]
  items jsonb not null,
  -- [{tracking_id: [], item_ids: []}]
  fulfillments jsonb not null,
  -- [{transaction_type, amount_cents, payment_method_id}]
  payment_history jsonb not null,
  cancel_reason text,
  exchange_items text[],
  exchange_new_items text[],
  exchange_payment_method_id text,
  exchange_price_difference_cents bigint,
  return_items text[],
  return_payment_method_id text,
  primary key (tenant, order_id),
  foreign key (tenant, user_id) references customers (tenant, user_id) on delete cascade
);

-- What was done, by whom, under which key: one row per effect.
create table order_activity (
  tenant text not null,
  id bigint generated always as identity primary key,
  -- order/<id> or customer/<id>
  record text not null,
  actor text not null,
  action text not null,
  key text not null,
  at timestamptz not null default now()
);
create index order_activity_of_record on order_activity (tenant, record, id);

do $$
declare
  t text;
begin
  foreach t in array array['products', 'customers', 'orders', 'order_activity']
  loop
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy own_tenant on %I using (tenant = current_tenant()) '
      'with check (tenant = current_tenant())', t);
  end loop;
end
$$;

grant select on products, customers, orders to steward_orders;
grant select, insert on order_activity to steward_orders;
grant update (address, payment_methods) on customers to steward_orders;
grant update (address, status, items, payment_history, cancel_reason, exchange_items, exchange_new_items,
  exchange_payment_method_id, exchange_price_difference_cents, return_items, return_payment_method_id)
  on orders to steward_orders;
