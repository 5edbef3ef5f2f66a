import { type CatalogOptions, serveCatalog } from '#catalog-kit/serve.ts';
import { grantVariables, serviceConfig } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { createLog } from '#platform/telemetry/log.ts';
import type { OrdersTables } from './tables.ts';
import { ordersTools } from './tools/index.ts';

/** The schema of the catalog's tables; its process connects as `steward_orders`. */
export const ORDERS_SCHEMA = 'orders';

const GRACE_MS = 10_000;

/** What a suite may compose differently; a product changes none of it. */
export type OrdersParts = Partial<Pick<CatalogOptions<OrdersTables>, 'receipts' | 'hooks' | 'wrap'>>;

/**
 * Serves the orders catalog as the environment says. Returns where, and how to stop: calls under way get 10 s.
 * Throws INVALID_REQUEST naming every variable that is wrong.
 */
export async function startOrders(
  env: Readonly<Record<string, string | undefined>> = process.env,
  parts: OrdersParts = {},
): Promise<{ readonly address: string; stop(): Promise<void> }> {
  const config = serviceConfig(grantVariables, env);
  const { db, close } = connect<OrdersTables>(config.DATABASE_URL, {
    name: 'steward-orders',
    schema: ORDERS_SCHEMA,
  });
  try {
    const server = await serveCatalog({
      name: 'orders',
      tools: ordersTools,
      db,
      listen: config.STEWARD_LISTEN,
      identity: {
        issuer: config.STEWARD_AUTH_ISSUER,
        audience: config.STEWARD_AUTH_AUDIENCE,
        jwks: config.STEWARD_AUTH_JWKS,
        runGrantJwks: config.STEWARD_RUN_GRANT_JWKS,
        executionGrantJwks: config.STEWARD_EXECUTION_GRANT_JWKS,
      },
      log: createLog('orders', config.STEWARD_LOG_LEVEL),
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
