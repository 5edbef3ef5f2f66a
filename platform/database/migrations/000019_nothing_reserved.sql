-- A call holds a row of every quantity its tool declares, also of those it is to spend nothing of: what its catalog then
-- says was spent has a row to be added to.
alter table steward.quantity_windows drop constraint quantity_windows_amount_check;
alter table steward.quantity_windows add constraint quantity_windows_amount_check check (amount >= 0);
