import { readFile } from 'node:fs/promises';
import { sql } from 'kysely';
import { z } from 'zod';
import { anchorDirectory, parseKeySet } from '#platform/audit/anchors.ts';
import { parseCatalogs } from '#platform/config/catalogs.ts';
import { type readConfig, required, serviceVariables, urlOf } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import { refusalLog } from '#platform/database/refusals.ts';
import type { Database } from '#platform/database/tables.ts';
import type { BoundService } from '#platform/grpc/bind.ts';
import { startServer } from '#platform/grpc/server.ts';
import { tokensInDirectory } from '#platform/grpc/token-file.ts';
import { runGrantSigner } from '#platform/identity/grants.ts';
import { bundleSigner } from '#platform/identity/incident-bundles.ts';
import { readPrivateKey } from '#platform/identity/key-pair.ts';
import { createVerifier } from '#platform/identity/tokens.ts';
import { MODELS } from '#platform/llm/models.ts';
import { createLog } from '#platform/telemetry/log.ts';
import { connectTemporal } from '#platform/temporal/client.ts';
import { createDeliveries, type Deliveries } from '#platform/temporal/deliveries.ts';
import { auditService } from './auditing/service.ts';
import { budgetService } from './budget/service.ts';
import { openCatalogs } from './catalogs.ts';
import type { RunApiDeps } from './deps.ts';
import { createHub } from './hub.ts';
import { adminService, incidentService, investigationService, runService } from './service.ts';

/** What run-api reads from its environment. */
export const runApiVariables = {
  ...serviceVariables,
  /** The one private key that signs run grants. A secret that no other process has. */
  STEWARD_RUN_GRANT_KEY_FILE: required('a file with the private JWK that signs run grants'),
  /** Directory with `<catalog>.token` files: bearer tokens of role `worker`, each for the audience of one catalog. */
  STEWARD_CATALOG_TOKEN_DIR: required('a directory with <catalog>.token files, bearer tokens of role worker'),
  /** `name=host:port`, comma-separated. */
  STEWARD_CATALOGS: required('catalogs as name=host:port, comma-separated'),
  /** `host:port` of Temporal's frontend. */
  TEMPORAL_ADDRESS: required("host:port of Temporal's frontend"),
  TEMPORAL_NAMESPACE: required('the Temporal namespace'),
  /** Temporal Cloud's API key; turns TLS on. A secret. */
  TEMPORAL_API_KEY: z.string().optional(),
  /** Where the worker puts signed heads of the audit log, and a file with the public keys (JWKS) they are checked with. */
  STEWARD_AUDIT_ANCHORS: z.string().optional(),
  STEWARD_AUDIT_JWKS: z.string().optional(),
  /** Base address of Temporal's Web UI, for links; without it there are none. */
  STEWARD_TEMPORAL_UI: urlOf(['http', 'https'], "the base address of Temporal's Web UI").optional(),
} as const;

export type RunApiConfig = ReturnType<typeof readConfig<typeof runApiVariables>>;

/** Parts that suites put something else around. */
export interface RunApiWrap {
  readonly service?: (service: BoundService) => BoundService;
  readonly deliveries?: (deliveries: Deliveries) => Deliveries;
}

export interface RunningRunApi {
  /** `host:port` with the true port. */
  readonly address: string;
  /** Ends streams, lets calls under way end for at most 10 s, and gives everything up. */
  stop(): Promise<void>;
}

const GRACE_MS = 10_000;

/** Wires run-api from its environment and serves. Neither database nor Temporal need be up yet. */
export async function startRunApi(config: RunApiConfig, wrap: RunApiWrap = {}): Promise<RunningRunApi> {
  const log = createLog('run-api', config.STEWARD_LOG_LEVEL);
  const key = await readPrivateKey(config.STEWARD_RUN_GRANT_KEY_FILE);
  const anchors = await openAnchors(config);
  const addresses = parseCatalogs(config.STEWARD_CATALOGS);
  const database = connect<Database>(config.DATABASE_URL, { name: 'steward-run-api', max: 20 });
  const { db } = database;
  const temporal = connectTemporal({
    address: config.TEMPORAL_ADDRESS,
    namespace: config.TEMPORAL_NAMESPACE,
    ...(config.TEMPORAL_API_KEY === undefined ? {} : { apiKey: config.TEMPORAL_API_KEY }),
  });
  const wake = notifier(db, { onError: (err) => log.warn({ err }, 'could not notify') });
  const hub = createHub({
    url: config.DATABASE_URL,
    db,
    onError: (err) => log.warn({ err }, 'hub: the database is away'),
  });
  const catalogs = openCatalogs(addresses, tokensInDirectory(config.STEWARD_CATALOG_TOKEN_DIR));
  const deliveries = createDeliveries({ db, temporal, log });
  const deps: RunApiDeps = {
    db,
    deliveries: wrap.deliveries?.(deliveries) ?? deliveries,
    grants: runGrantSigner(key),
    signBundle: bundleSigner(key),
    hub,
    notifier: wake,
    catalogs,
    knownModels: MODELS,
    anchors,
    temporalUi: temporalUi(config.STEWARD_TEMPORAL_UI, config.TEMPORAL_NAMESPACE),
    log,
  };
  const close = async (): Promise<void> => {
    catalogs.close();
    await deliveries.settled();
    await Promise.all([wake.close(), hub.close()]);
    await temporal.close();
    await database.close();
  };
  try {
    const server = await startServer({
      listen: config.STEWARD_LISTEN,
      onRefused: refusalLog(db, log),
      services: [
        runService(deps),
        adminService(deps),
        auditService(deps),
        budgetService(deps),
        investigationService(deps),
        incidentService(deps),
      ].map(wrap.service ?? ((service) => service)),
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

function temporalUi(base: string | undefined, namespace: string): (workflowId: string) => string {
  if (base === undefined) return () => '';
  const root = `${base.replace(/\/+$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows`;
  return (workflowId) => `${root}/${encodeURIComponent(workflowId)}`;
}

async function openAnchors(config: RunApiConfig): Promise<RunApiDeps['anchors']> {
  const { STEWARD_AUDIT_ANCHORS: directory, STEWARD_AUDIT_JWKS: jwks } = config;
  if (directory === undefined || jwks === undefined) return null;
  return { store: anchorDirectory(directory), keys: parseKeySet(await readFile(jwks, 'utf8')) };
}
