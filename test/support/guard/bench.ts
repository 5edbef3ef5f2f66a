import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeTool } from '#catalog-kit/descriptor.ts';
import { migrateCatalog } from '#catalog-kit/migrate.ts';
import { serveCatalog } from '#catalog-kit/serve.ts';
import type { Tool } from '#catalog-kit/tool.ts';
import { freePort } from '#deploy/dev/ports.ts';
import { callIdOf } from '#domain/ids.ts';
import type { JsonObject } from '#domain/json.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import { ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { GuardService, type JudgedCall, type JudgeResponse } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { connect as connectDatabase } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import { withSwitches } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import { startServer } from '#platform/grpc/server.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { decisionSigner, decisionVerifier } from '#platform/identity/decisions.ts';
import { executionGrantSigner, type RunGrant, runGrantSigner, runGrantVerifier } from '#platform/identity/grants.ts';
import type { Role } from '#platform/identity/principal.ts';
import { connectTemporal } from '#platform/temporal/client.ts';
import { openCatalogs } from '#services/guard/catalogs.ts';
import { temporalDelivery } from '#services/guard/delivery.ts';
import type { GuardDeps } from '#services/guard/deps.ts';
import { createBaselines } from '#services/guard/judging/anomalies.ts';
import { createPins } from '#services/guard/pins.ts';
import { approvalService, guardService, killSwitchService, limitService } from '#services/guard/service.ts';
import { testIssuer, testKey } from '../identity.ts';
import { keepLog } from '../rpc.ts';
import { type StewardDatabase, stewardDatabase } from '../steward-database.ts';
import { deskTools, pinOf } from './desk.ts';

/** A row, or JSON in one, as it came back: looked into by tests only. */
// biome-ignore lint/suspicious/noExplicitAny: its shape is what tests are about.
export type Row = Record<string, any>;

/** A run with everything a worker holds of it. */
export interface BenchRun {
  readonly tenant: string;
  readonly id: string;
  readonly grant: RunGrant;
  readonly runGrant: string;
  /** The run's row as it is now. */
  row(): Promise<Row>;
  /** Rows of one of the run's tables, oldest first. */
  rows(table: 'steps' | 'events' | 'calls' | 'approvals' | 'decisions' | 'audit' | 'outbox'): Promise<Row[]>;
  judge(calls: readonly Proposal[], turn?: number, begin?: boolean): Promise<JudgeResponse>;
  /** Judges one call that is asked for, and gives the question. */
  ask(args?: JsonObject, turn?: number): Promise<JudgedCall>;
}

export interface Proposal {
  readonly tool: string;
  readonly args?: unknown;
  /** Raw text in place of `args`. */
  readonly json?: string;
  readonly malformed?: string;
  readonly providerId?: string;
}

export interface RunOptions {
  /** Default: a tenant of its own. */
  readonly tenant?: string;
  readonly tools?: readonly string[];
  /** Pins in place of the catalog's own descriptors. */
  readonly pins?: (pins: readonly ToolDescriptor[]) => readonly ToolDescriptor[];
  readonly columns?: Readonly<Record<string, unknown>>;
  readonly grant?: Partial<RunGrant>;
}

const TABLES = {
  steps: 'agent_run_steps where run_id = $1 order by number',
  events: 'agent_run_events where run_id = $1 order by sequence',
  calls: 'agent_run_tool_invocations where run_id = $1 order by turn, ordinal',
  approvals: 'approvals where run_id = $1 order by created_at',
  decisions: 'approval_decisions where run_id = $1 order by decided_at',
  audit: 'audit_log where run_id = $1 order by id',
  outbox: 'outbox where run_id = $1 order by id',
} as const;

export type Bench = Awaited<ReturnType<typeof guardBench>>;

/** A guard on a real database with a real catalog named desk. Without `temporal` none can be reached. */
export async function guardBench(
  options: { readonly temporal?: { readonly address: string; readonly namespace: string } } = {},
) {
  const database: StewardDatabase = await stewardDatabase();
  const [issuer, runApi, guard, stranger] = [await testIssuer(), await testKey(), await testKey(), await testKey()];
  const directory = await mkdtemp(join(tmpdir(), 'steward-desk-'));
  await migrateCatalog({ url: database.url, schema: 'desk', directory });
  await rm(directory, { recursive: true });
  const deskDatabase = connectDatabase(await database.urlAs('steward_desk'), { schema: 'desk' });
  const log = keepLog();
  const port = await freePort();
  const serveDesk = (tools: readonly Tool[]) =>
    serveCatalog({
      name: 'desk',
      tools,
      db: deskDatabase.db,
      listen: `127.0.0.1:${port}`,
      identity: {
        issuer: issuer.issuer,
        audience: issuer.audience,
        jwks: issuer.jwks,
        runGrantJwks: runApi.jwks,
        executionGrantJwks: guard.jwks,
      },
      log,
    });
  let desk = await serveDesk(deskTools());
  const pins = deskTools().map((tool) => pinOf('desk', describeTool(tool)));

  const workerToken = () => issuer.token({ tenant: '', subject: 'worker-1', roles: ['worker'] });
  const pool = connectDatabase<Database>(await database.urlAs('steward_guard'), { max: 30 });
  const temporal = connectTemporal(
    options.temporal ?? { address: `127.0.0.1:${await freePort()}`, namespace: 'steward' },
  );
  let laterMs = 0;
  const catalogs = openCatalogs({ desk: `127.0.0.1:${port}` }, workerToken, () => performance.now() + laterMs);
  const deps: GuardDeps = {
    db: pool.db,
    runGrants: runGrantVerifier(runApi.jwks),
    executionGrants: executionGrantSigner(guard.key),
    signDecision: decisionSigner(guard.key),
    decisions: decisionVerifier(guard.jwks),
    catalogs,
    pins: createPins(),
    delivery: temporalDelivery({ db: pool.db, temporal, log, ...(options.temporal ? {} : { waitMs: 1 }) }),
    baselines: createBaselines(),
    notifier: notifier(pool.db),
    platformTenant: 'platform',
    withSwitches: (tenant, work) => withSwitches(pool.db, tenant, work),
    deliver: async () => undefined,
    log,
  };
  const server = await startServer({
    listen: '127.0.0.1:0',
    services: [guardService(deps), approvalService(deps), killSwitchService(deps), limitService(deps)],
    verifier: issuer.verifier,
    log,
  });
  const closing: (() => void)[] = [];
  const worker = connect(GuardService, { address: server.address, token: workerToken, deadlineMs: 30_000 });
  closing.push(worker.close);

  async function agent(tenant: string, tools: readonly ToolDescriptor[]): Promise<string> {
    const hash = digestOf(JSON.stringify(tools));
    await database.query(
      `insert into steward.agents (tenant, name, hash, definition, yaml, tools, is_current, applied_by)
       values ($1, 'helper', $2, '{}', '', $3, false, 'test') on conflict do nothing`,
      [tenant, hash, JSON.stringify(tools)],
    );
    return hash;
  }

  return {
    database,
    deps,
    log,
    keys: { issuer, runApi, guard, stranger },
    worker: worker.client,
    address: server.address,
    deskAddress: `127.0.0.1:${port}`,
    workerToken,
    /** Called when the bench stops. */
    onStop: (close: () => void) => void closing.push(close),
    pins,
    /** Lets so much time pass for what is kept of catalogs. */
    later(ms: number) {
      laterMs += ms;
    },
    /** The catalog goes away; with tools, it comes back with them. */
    async replaceDesk(tools?: readonly Tool[]) {
      await desk.stop(0);
      if (tools) desk = await serveDesk(tools);
    },

    /** What a person, or a service, sees of the guard. */
    person(
      tenant: string,
      subject: string,
      roles: readonly Role[],
      onBehalfOf?: string,
    ): Client<typeof ApprovalService> {
      const token = () => issuer.token({ tenant, subject, roles, ...(onBehalfOf ? { onBehalfOf } : {}) });
      const connection = connect(ApprovalService, { address: server.address, token, deadlineMs: 30_000 });
      closing.push(connection.close);
      return connection.client;
    },

    async run(wish: RunOptions = {}): Promise<BenchRun> {
      const tenant = wish.tenant ?? (await database.tenant());
      const pinned = wish.pins?.(pins) ?? pins;
      const hash = await agent(tenant, pinned);
      const tools = { desk: [...(wish.tools ?? pinned.map((tool) => tool.name))] };
      const id = await database.run(tenant, { agent_hash: hash, tools: JSON.stringify(tools), ...wish.columns });
      const grant: RunGrant = {
        tenant,
        run: id,
        user: 'ann@acme',
        agent: 'helper',
        agentHash: hash,
        tools,
        resources: [],
        permissions: [],
        ...wish.grant,
      };
      const runGrant = await runGrantSigner(runApi.key).sign(grant);
      const judge = (calls: readonly Proposal[], turn = 1, begin = false) =>
        worker.client.judge({
          runGrant,
          turn,
          begin,
          calls: calls.map((call, index) => ({
            callId: callIdOf(turn, index),
            tool: call.tool,
            argsJson: call.json ?? (call.malformed === undefined ? JSON.stringify(call.args ?? {}) : ''),
            providerId: call.providerId ?? `toolu_${index}`,
            malformed: call.malformed ?? '',
          })),
        });
      return {
        tenant,
        id,
        grant,
        runGrant,
        row: async () => (await database.query('select * from steward.agent_runs where id = $1', [id]))[0] ?? {},
        rows: (table) => database.query(`select * from steward.${TABLES[table]}`, [id]),
        judge,
        async ask(args = { note_id: 'n1' }, turn = 1) {
          const { calls } = await judge([{ tool: 'delete_note', args }], turn);
          const [call] = calls;
          if (!call?.approvalId) throw new Error(`nobody was asked: ${JSON.stringify(calls.map((c) => c.reason))}`);
          return call;
        },
      };
    },

    async stop() {
      for (const close of closing) close();
      await server.stop(1_000);
      await desk.stop(0);
      catalogs.close();
      await deps.notifier.close();
      await deps.delivery.idle();
      await temporal.close();
      await pool.close();
      await deskDatabase.close();
      await database.drop();
    },
  };
}
