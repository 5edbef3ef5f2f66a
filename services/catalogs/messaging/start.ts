import { z } from 'zod';
import type { CatalogHooks } from '#catalog-kit/catalog.ts';
import type { Receipts } from '#catalog-kit/receipts.ts';
import { serveCatalog } from '#catalog-kit/serve.ts';
import { createLog } from '#platform/config/process.ts';
import { grantVariables, type readConfig, required, serviceVariables, urlOf } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { normalDomain } from './address.ts';
import { type MessagingTables, messagingTools } from './send-email.ts';
import { parseMailServer } from './smtp.ts';

/** What the messaging catalog reads from its environment. */
export const messagingVariables = {
  ...serviceVariables,
  ...grantVariables,
  /** `smtp://user:password@host:port` or `smtps://…`. A secret where it has a password. */
  SMTP_URL: urlOf(['smtp', 'smtps'], 'the mail server that messages are handed to'),
  /** Messages are sent as `steward@<domain>`. */
  STEWARD_MAIL_DOMAIN: required('the domain mail is sent from').transform((text, issues) => {
    const domain = normalDomain(text);
    if (domain !== null) return domain;
    issues.addIssue({ code: 'custom', message: `is no domain name: ${text}` });
    return z.NEVER;
  }),
} as const;

export type MessagingConfig = ReturnType<typeof readConfig<typeof messagingVariables>>;

/** Parts that a suite replaces to break the process off, or to prove itself. A product gives none. */
export interface MessagingParts {
  readonly hooks?: CatalogHooks;
  readonly receipts?: Receipts;
}

export interface RunningMessaging {
  /** `host:port` with the true port. */
  readonly address: string;
  /** Lets calls under way end, for at most 10 s, and gives everything up. */
  stop(): Promise<void>;
}

const GRACE_MS = 10_000;

/** Wires the messaging catalog from its environment and serves. Throws as `serveCatalog`. */
export async function startMessaging(config: MessagingConfig, parts: MessagingParts = {}): Promise<RunningMessaging> {
  const { db, close } = connect<MessagingTables>(config.DATABASE_URL, {
    name: 'steward-messaging',
    schema: 'messaging',
  });
  try {
    const server = await serveCatalog({
      name: 'messaging',
      tools: messagingTools({ server: parseMailServer(config.SMTP_URL), domain: config.STEWARD_MAIL_DOMAIN }),
      db,
      listen: config.STEWARD_LISTEN,
      identity: {
        issuer: config.STEWARD_AUTH_ISSUER,
        audience: config.STEWARD_AUTH_AUDIENCE,
        jwks: config.STEWARD_AUTH_JWKS,
        runGrantJwks: config.STEWARD_RUN_GRANT_JWKS,
        executionGrantJwks: config.STEWARD_EXECUTION_GRANT_JWKS,
      },
      log: createLog('messaging', config.STEWARD_LOG_LEVEL),
      reflection: config.STEWARD_REFLECTION,
      ...parts,
    });
    return {
      address: server.address,
      async stop() {
        await server.stop(GRACE_MS);
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
