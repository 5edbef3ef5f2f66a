-- The platform tenant has one name for kill switches (STEWARD_PLATFORM_TENANT) and for the product's budget: `platform`,
-- unless the owner of the database and the guard's environment both name another.
update steward.product_settings set platform_tenant = 'platform' where platform_tenant is null;
