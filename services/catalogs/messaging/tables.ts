/** The catalog's tables as kysely sees them; migrations/ is the truth. */
export interface MessagingTables {
  allowed_domains: { tenant: string; domain: string };
}
