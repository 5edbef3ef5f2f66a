-- What is held may be spent at any moment, so it counts in every window however long ago it was reserved. A repeated leave
-- counts from itself: the effect may come that much later.
create index quantity_windows_held on steward.quantity_windows (tenant, quantity) where state = 'held';
grant update (reserved_at) on steward.quantity_windows to steward_guard;
