import { type CatalogOptions, serveCatalog } from '#catalog-kit/serve.ts';
import { grantVariables, required, serviceConfig, urlOf } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { createLog } from '#platform/telemetry/log.ts';
import { smtpMailer } from './smtp.ts';
import type { MessagingTables } from './tables.ts';
import { messagingTools } from './tools.ts';

/** The schema of the catalog's tables; its process connects as `steward_messaging`. */
export const MESSAGING_SCHEMA = 'messaging';

const GRACE_MS = 10_000;

const variables = {
  ...grantVariables,
  /** Where mail is handed over. May hold a password: a secret. */
  SMTP_URL: urlOf(['smtp', 'smtps'], 'where mail is handed over'),
  /** The domain agents write from, and the right side of Message-IDs. */
  STEWARD_MAIL_DOMAIN: required('the domain mail comes from, for example agents.example.org').regex(
    /^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/,
    'must be a domain in lower case, for example agents.example.org',
  ),
};

/** What a suite may compose differently; a product changes none of it. */
export type MessagingParts = Partial<Pick<CatalogOptions<MessagingTables>, 'receipts' | 'hooks' | 'wrap'>>;

/**
 * Serves the messaging catalog as the environment says. Returns where, and how to stop: calls under way get 10 s.
 * Throws INVALID_REQUEST naming every variable that is wrong.
 */
export async function startMessaging(
  env: Readonly<Record<string, string | undefined>> = process.env,
  parts: MessagingParts = {},
): Promise<{ readonly address: string; stop(): Promise<void> }> {
  const config = serviceConfig(variables, env);
  const { db, close } = connect<MessagingTables>(config.DATABASE_URL, {
    name: 'steward-messaging',
    schema: MESSAGING_SCHEMA,
  });
  try {
    const server = await serveCatalog({
      name: 'messaging',
      tools: messagingTools(smtpMailer(config.SMTP_URL), config.STEWARD_MAIL_DOMAIN),
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
    const stop = async () => {
      await server.stop(GRACE_MS);
      await close();
    };
    return { address: server.address, stop };
  } catch (error) {
    await close();
    throw error;
  }
}
