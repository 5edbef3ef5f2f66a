import type { Generated } from 'kysely';

/** The catalog's tables as kysely sees them; migrations/ is the truth. */
export interface MessagingTables {
  allowed_domains: { tenant: string; domain: string };
  messages: {
    tenant: string;
    id: Generated<number>;
    user_id: string;
    run_id: string;
    body: string;
    key: string;
    sent_at: Generated<Date>;
    retracted_at: Date | null;
  };
}
