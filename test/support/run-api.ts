import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { descriptorHash } from '#catalog-kit/descriptor.ts';
import { freePort } from '#deploy/dev/ports.ts';
import { StewardError } from '#domain/errors.ts';
import { AdminService } from '#gen/steward/admin/v1/admin_service_pb.ts';
import {
  type DescribeToolsResponseSchema,
  EffectClass,
  Risk,
  ToolCatalog,
  ToolDescriptorSchema,
} from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { type Run, RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { readConfig } from '#platform/config/service.ts';
import { bind, type CallContext } from '#platform/grpc/bind.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import { type RunningServer, startServer } from '#platform/grpc/server.ts';
import type { Role } from '#platform/identity/principal.ts';
import { runApiVariables, startRunApi } from '#services/run-api/start.ts';
import { type TestIssuer, testIssuer, testKey } from './identity.ts';
import { keepLog } from './rpc.ts';
import { type StewardDatabase, stewardDatabase } from './steward-database.ts';

/** Somebody with a token. */
export interface Caller {
  readonly tenant: string;
  readonly subject?: string;
  readonly roles?: readonly Role[];
  readonly onBehalfOf?: string;
  readonly permissions?: readonly string[];
}

/** A real run-api on a real Postgres, with its callers. */
export interface RunApiBench {
  readonly database: StewardDatabase;
  readonly issuer: TestIssuer;
  readonly address: string;
  /** Its environment, for tests that start another one. */
  readonly env: Readonly<Record<string, string>>;
  as(caller: Caller): { readonly runs: Client<typeof RunService>; readonly admin: Client<typeof AdminService> };
  /** A tenant with the agent `helper` applied; settings as `StewardDatabase.tenant`. */
  tenant(settings?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Starts a run of `helper` as ann, operator, with a request id of its own. */
  start(tenant: string, more?: Record<string, unknown>): Promise<Run>;
  stop(): Promise<void>;
}

export interface BenchOptions {
  /** `host:port`; nobody listens there by default. */
  readonly temporal?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly catalogs?: Readonly<Record<string, string>>;
  /** Whose tokens it takes, and its catalogs; by default one of its own. */
  readonly issuer?: TestIssuer;
}

/** Brings run-api up with a catalog `desk` of three tools; `catalogs` are added. */
export async function runApiBench(options: BenchOptions = {}): Promise<RunApiBench> {
  const [database, issuer, { key }] = await Promise.all([stewardDatabase(), options.issuer ?? testIssuer(), testKey()]);
  const home = await mkdtemp(join(tmpdir(), 'steward-run-api-'));
  const desk = await serveDescriptions(issuer, 'desk', async () => ({ catalog: 'desk', tools: deskTools() }));
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(home, name), text, { mode: 0o600 });
    return join(home, name);
  };
  const worker = await issuer.token({ tenant: '', subject: 'run-api', roles: ['worker'] }, 3_600);
  const catalogs = { desk: desk.address, ...options.catalogs };
  for (const name of Object.keys(catalogs)) await file(`${name}.token`, worker);
  const env = {
    STEWARD_LISTEN: '127.0.0.1:0',
    STEWARD_LOG_LEVEL: 'silent',
    DATABASE_URL: await database.urlAs('steward_run_api'),
    STEWARD_AUTH_ISSUER: issuer.issuer,
    STEWARD_AUTH_AUDIENCE: issuer.audience,
    STEWARD_AUTH_JWKS: await file('jwks.json', JSON.stringify(issuer.jwks)),
    STEWARD_RUN_GRANT_KEY_FILE: await file('key.json', JSON.stringify(key)),
    STEWARD_CATALOG_TOKEN_DIR: home,
    STEWARD_CATALOGS: Object.entries(catalogs)
      .map(([name, address]) => `${name}=${address}`)
      .join(','),
    TEMPORAL_ADDRESS: options.temporal ?? `127.0.0.1:${await freePort()}`,
    TEMPORAL_NAMESPACE: 'steward',
    STEWARD_TEMPORAL_UI: 'http://127.0.0.1:8233',
    ...options.env,
  };
  const server = await startRunApi(readConfig(runApiVariables, env));
  const open: { close(): void }[] = [];
  const known = new Map<string, ReturnType<RunApiBench['as']>>();
  const as: RunApiBench['as'] = (caller) => {
    const found = known.get(JSON.stringify(caller));
    if (found !== undefined) return found;
    const token = () => issuer.token({ subject: 'ann@acme', roles: ['operator', 'admin'], ...caller }, 600);
    const runs = connect(RunService, { address: server.address, token });
    const admin = connect(AdminService, { address: server.address, token });
    open.push(runs, admin);
    const clients = { runs: runs.client, admin: admin.client };
    known.set(JSON.stringify(caller), clients);
    return clients;
  };
  return {
    database,
    issuer,
    address: server.address,
    env,
    as,
    async tenant(settings) {
      const tenant = await database.tenant(settings);
      await as({ tenant }).admin.applyAgent({ yaml: HELPER });
      return tenant;
    },
    async start(tenant, more = {}) {
      const { run } = await as({ tenant }).runs.startRun({
        requestId: crypto.randomUUID(),
        agent: 'helper',
        input: 'Help.',
        ...more,
      });
      if (run === undefined) throw new Error('no run');
      return run;
    },
    async stop() {
      for (const connection of open) connection.close();
      await server.stop();
      await desk.stop(0);
      await database.drop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** The agent of `tenant`: three tools, half a dollar. */
export const HELPER = `name: helper
description: Helps at the desk.
instructions: Help.
model: offline-1
tools:
  desk: [look, note, shred]
limits: {model_calls: 10, tool_calls: 20}
budget: $0.50
`;

type Tool = Partial<Omit<MessageShape<typeof ToolDescriptorSchema>, '$typeName' | '$unknown'>>;

/** A tool as a catalog describes it, with the hash it ought to have. */
export function described(tool: Tool & { readonly name: string }) {
  const closed = { type: 'object', properties: {}, additionalProperties: false };
  const descriptor = create(ToolDescriptorSchema, {
    version: '1',
    description: `The tool ${tool.name}.`,
    inputSchemaJson: JSON.stringify(closed),
    outputSchemaJson: JSON.stringify({ type: 'object' }),
    risk: Risk.SAFE,
    effectClass: EffectClass.NONE,
    timeout: durationFromMs(5_000),
    ...tool,
  });
  return create(ToolDescriptorSchema, { ...descriptor, hash: tool.hash ?? descriptorHash(descriptor) });
}

export function deskTools() {
  const effectClass = EffectClass.TRANSACTIONAL;
  return [
    described({ name: 'look', permissions: ['desk:read'] }),
    described({ name: 'note', risk: Risk.CAUTIOUS, effectClass, hasUndo: true, permissions: ['desk:write'] }),
    described({ name: 'shred', risk: Risk.DESTRUCTIVE, effectClass, hasUndo: true, permissions: ['desk:write'] }),
  ];
}

/** A catalog of another team's that answers DescribeTools as told, and nothing else. */
export async function serveDescriptions(
  issuer: TestIssuer,
  name: string,
  describe: (ctx: CallContext) => Promise<MessageInitShape<typeof DescribeToolsResponseSchema>>,
  maxMessageBytes?: number,
): Promise<RunningServer> {
  const missing = (): Promise<never> => Promise.reject(new StewardError('UNIMPLEMENTED', `not in ${name}`));
  const worker: readonly Role[] = ['worker'];
  const service = bind(ToolCatalog, {
    roles: { describeTools: worker, preview: worker, execute: worker, resolve: worker, undo: worker },
    handlers: { describeTools: describe, preview: missing, execute: missing, resolve: missing, undo: missing },
  });
  return await startServer({
    listen: '127.0.0.1:0',
    services: [service],
    verifier: issuer.verifier,
    log: keepLog(),
    ...(maxMessageBytes === undefined ? {} : { maxMessageBytes }),
  });
}
