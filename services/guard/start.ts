import { sql } from 'kysely';
import { z } from 'zod';
import { parseCatalogs } from '#platform/config/catalogs.ts';
import {
  grantVariables,
  platformVariables,
  type readConfig,
  required,
  serviceVariables,
} from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import { refusalLog } from '#platform/database/refusals.ts';
import { withSwitches } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import type { BoundService } from '#platform/grpc/bind.ts';
import { startServer } from '#platform/grpc/server.ts';
import { tokensInDirectory } from '#platform/grpc/token-file.ts';
import { decisionSigner, decisionVerifier } from '#platform/identity/decisions.ts';
import { executionGrantSigner, runGrantVerifier } from '#platform/identity/grants.ts';
import { publicKeySet, readPrivateKey } from '#platform/identity/key-pair.ts';
import { createVerifier } from '#platform/identity/tokens.ts';
import { createLog } from '#platform/telemetry/log.ts';
import { connectTemporal } from '#platform/temporal/client.ts';
import { createDeliveries } from '#platform/temporal/deliveries.ts';
import { openCatalogs } from './catalogs.ts';
import { temporalDelivery } from './delivery.ts';
import type { GuardDeps } from './deps.ts';
import { createBaselines } from './judging/anomalies.ts';
import { createPins } from './pins.ts';
import { approvalService, guardService, killSwitchService, limitService } from './service.ts';
import { sweepSwitches } from './stopping/sweep.ts';

/** What the guard reads from its environment. */
export const guardVariables = {
  ...serviceVariables,
  STEWARD_RUN_GRANT_JWKS: grantVariables.STEWARD_RUN_GRANT_JWKS,
  /** The one private key that signs execution grants and decisions. A secret that no other process has. */
  STEWARD_GUARD_KEY_FILE: required('a file with the private JWK that signs execution grants and decisions'),
  /** Directory with `<catalog>.token` files: bearer tokens of role `worker`, each for the audience of one catalog. */
  STEWARD_CATALOG_TOKEN_DIR: required('a directory with <catalog>.token files, bearer tokens of role worker'),
  /** `name=host:port`, comma-separated. */
  STEWARD_CATALOGS: required('catalogs as name=host:port, comma-separated'),
  ...platformVariables,
  /** `host:port` of Temporal's frontend. */
  TEMPORAL_ADDRESS: required("host:port of Temporal's frontend"),
  TEMPORAL_NAMESPACE: required('the Temporal namespace'),
  /** Temporal Cloud's API key; turns TLS on. A secret. */
  TEMPORAL_API_KEY: z.string().optional(),
} as const;

export type GuardConfig = ReturnType<typeof readConfig<typeof guardVariables>>;

/** Parts that suites put something else around. */
export interface GuardWrap {
  readonly service?: (service: BoundService) => BoundService;
}

export interface RunningGuard {
  /** `host:port` with the true port. */
  readonly address: string;
  /** Lets calls under way end, for at most 10 s, and gives everything up. */
  stop(): Promise<void>;
}

const GRACE_MS = 10_000;

/** Wires the guard from its environment and serves. Throws where the key or a catalog's address cannot be read. */
export async function startGuard(config: GuardConfig, wrap: GuardWrap = {}): Promise<RunningGuard> {
  const log = createLog('guard', config.STEWARD_LOG_LEVEL);
  const key = await readPrivateKey(config.STEWARD_GUARD_KEY_FILE);
  const addresses = parseCatalogs(config.STEWARD_CATALOGS);
  const database = connect<Database>(config.DATABASE_URL, { name: 'steward-guard', max: 20 });
  const { db } = database;
  const temporal = connectTemporal({
    address: config.TEMPORAL_ADDRESS,
    namespace: config.TEMPORAL_NAMESPACE,
    ...(config.TEMPORAL_API_KEY === undefined ? {} : { apiKey: config.TEMPORAL_API_KEY }),
  });
  const wake = notifier(db, { onError: (err) => log.warn({ err }, 'could not notify') });
  const catalogs = openCatalogs(addresses, tokensInDirectory(config.STEWARD_CATALOG_TOKEN_DIR));
  const owed = createDeliveries({ db, temporal, log });
  const ending = new AbortController();
  const deps: GuardDeps = {
    db,
    runGrants: runGrantVerifier(config.STEWARD_RUN_GRANT_JWKS),
    executionGrants: executionGrantSigner(key),
    signDecision: decisionSigner(key),
    decisions: decisionVerifier(publicKeySet(key)),
    catalogs,
    pins: createPins(),
    delivery: temporalDelivery({ db, temporal, log }),
    baselines: createBaselines(),
    notifier: wake,
    platformTenant: config.STEWARD_PLATFORM_TENANT,
    withSwitches: (tenant, work) => withSwitches(db, tenant, work),
    deliver: (tenant, outbox) => owed.send(tenant, outbox),
    log,
  };
  const sweeping = sweepSwitches(deps, ending.signal);
  const close = async (): Promise<void> => {
    ending.abort();
    await sweeping;
    await owed.settled();
    catalogs.close();
    await wake.close();
    await deps.delivery.idle();
    await temporal.close();
    await database.close();
  };
  try {
    const server = await startServer({
      listen: config.STEWARD_LISTEN,
      onRefused: refusalLog(db, log),
      services: [guardService(deps), approvalService(deps), killSwitchService(deps), limitService(deps)].map(
        wrap.service ?? ((service) => service),
      ),
      verifier: createVerifier({
        issuer: config.STEWARD_AUTH_ISSUER,
        audience: config.STEWARD_AUTH_AUDIENCE,
        jwks: config.STEWARD_AUTH_JWKS,
      }),
      log,
      reflection: config.STEWARD_REFLECTION,
      health: async () => {
        await sql`select 1`.execute(db);
        return true;
      },
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
