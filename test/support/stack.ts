import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type DevPaths, resolvePaths } from '#deploy/dev/paths.ts';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import { DEV_AUDIENCE, DEV_ISSUER } from '#deploy/dev/secrets.ts';
import { seedDemo } from '#deploy/dev/seed.ts';
import { type Stack, type StackOptions, startStack } from '#deploy/dev/stack.ts';
import { AdminService } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { Answer, ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { LimitService } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { type Run, type RunEvent, RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Client, type Connection, connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import { connectTemporal, type Temporal } from '#platform/temporal/client.ts';

/** A person or service of the local tenant, or of another one. */
export interface Who {
  readonly subject: string;
  readonly roles: readonly Role[];
  readonly tenant?: string;
  readonly onBehalfOf?: string;
}

export const OLGA: Who = { subject: 'olga@acme.example', roles: ['operator', 'approver', 'admin'] };
export const BEN: Who = { subject: 'ben@acme.example', roles: ['approver'] };
export const DESK: Who = { subject: 'release-desk', roles: ['service'], onBehalfOf: 'ada@acme.example' };

/** A whole Steward on ports and data of its own. */
export interface TestStack {
  readonly stack: Stack;
  readonly paths: DevPaths;
  readonly temporal: Temporal;
  /** Clients as somebody; closed with the stack. */
  as(who: Who): {
    readonly runs: Client<typeof RunService>;
    readonly approvals: Client<typeof ApprovalService>;
    readonly admin: Client<typeof AdminService>;
    readonly limits: Client<typeof LimitService>;
  };
  token(who: Who): Promise<string>;
  /** One statement as superuser. */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Applies an agent whose offline script is `script`; returns its name. */
  applyAgent(options?: AgentOptions): Promise<string>;
  /** Starts a run on behalf of ada. */
  start(agent: string, input: string, more?: Record<string, unknown>): Promise<Run>;
  /** Waits until an event matches; throws with all events seen once `ms` have passed. */
  until(run: string, matches: (event: RunEvent) => boolean, ms?: number): Promise<RunEvent>;
  closed(run: string, ms?: number): Promise<Run>;
  /** Answers the next open approval of a run as `who`. */
  decide(run: string, answer: 'approve' | 'deny', who?: Who): Promise<string>;
  stop(): Promise<void>;
}

export interface AgentOptions {
  readonly name?: string;
  /** Default claude-sonnet-5-5. */
  readonly model?: string;
  readonly fallback?: string;
  readonly script?: string;
  readonly budget?: string;
  readonly limits?: Readonly<Record<string, number | string>>;
  readonly waits?: Readonly<Record<string, string>>;
  readonly anomalies?: Readonly<Record<string, number>>;
  readonly tools?: string;
  readonly maxOutputTokens?: number;
  readonly contextTokens?: number;
}

const PORTS = [
  'STEWARD_OFFLINE_MODEL_PORT',
  'STEWARD_SMTP_PORT',
  'STEWARD_PROJECTS_PORT',
  'STEWARD_ORDERS_PORT',
  'STEWARD_MESSAGING_PORT',
  'STEWARD_GUARD_PORT',
  'STEWARD_RUN_API_PORT',
  'STEWARD_POSTGRES_PORT',
  'STEWARD_TEMPORAL_PORT',
  'STEWARD_TEMPORAL_UI_PORT',
];

/** Brings a whole stack up in a temporary folder, on free ports. Always the offline model. */
export async function testStack(options: Partial<StackOptions> = {}): Promise<TestStack> {
  const home = await mkdtemp(join(tmpdir(), 'steward-stack-'));
  const env = {
    ...process.env,
    ...Object.fromEntries(PORTS.map((name) => [name, '0'])),
    ...options.env,
    STEWARD_HOME: home,
    ANTHROPIC_API_KEY: '',
    OPENAI_API_KEY: '',
    OPENAI_BASE_URL: '',
    DATABASE_URL: '',
    STEWARD_LOG_LEVEL: process.env.STEWARD_LOG_LEVEL ?? 'warn',
  };
  const paths = await resolvePaths(env);
  const remove = () => rm(home, { recursive: true, force: true });
  let stack: Stack;
  try {
    stack = await startStack({ ...options, paths, env });
  } catch (error) {
    await remove();
    throw error;
  }
  await seedDemo(stack);
  return overStack(stack, paths, remove);
}

function overStack(stack: Stack, paths: DevPaths, remove: () => Promise<void>): TestStack {
  const pool = new pg.Pool({ connectionString: stack.databaseUrl, max: 4 });
  pool.on('error', () => undefined);
  const temporal = connectTemporal({ address: stack.environment.temporal, namespace: stack.environment.namespace });
  const open: Pick<Connection<never>, 'close'>[] = [];
  const known = new Map<string, ReturnType<TestStack['as']>>();
  const token = (who: Who) =>
    mintToken(
      stack.secrets.tokens.privateJwk,
      { issuer: DEV_ISSUER, audience: DEV_AUDIENCE, tenant: DEV_TENANT, ...who },
      3_600,
    );
  const as: TestStack['as'] = (who) => {
    const key = JSON.stringify(who);
    const found = known.get(key);
    if (found) return found;
    const runs = connect(RunService, { address: stack.environment.runApi, token: () => token(who) });
    const admin = connect(AdminService, { address: stack.environment.runApi, token: () => token(who) });
    const approvals = connect(ApprovalService, { address: stack.environment.guard, token: () => token(who) });
    const limits = connect(LimitService, { address: stack.environment.guard, token: () => token(who) });
    open.push(runs, admin, approvals, limits);
    const clients = {
      runs: runs.client,
      admin: admin.client,
      approvals: approvals.client,
      limits: limits.client,
    };
    known.set(key, clients);
    return clients;
  };
  const test: TestStack = {
    stack,
    paths,
    temporal,
    as,
    token,
    async query<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []) {
      return (await pool.query<Row>(text, [...values])).rows;
    },

    async applyAgent(options = {}) {
      const name = options.name ?? `test-${randomUUID().slice(0, 8)}`;
      await as(OLGA).admin.applyAgent({ yaml: agentYaml(name, options) });
      return name;
    },

    async start(agent, input, more = {}) {
      const { run } = await as(DESK).runs.startRun({ requestId: randomUUID(), agent, input, ...more });
      if (!run) throw new Error('no run');
      return run;
    },

    async until(run, matches, ms = 30_000) {
      const seen: RunEvent[] = [];
      const signal = AbortSignal.timeout(ms);
      try {
        for await (const { item } of as(OLGA).runs.watchRun({ runId: run }, { signal })) {
          if (item.case !== 'event') continue;
          seen.push(item.value);
          if (matches(item.value)) return item.value;
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      const story = seen.map((event) => `${event.sequence} ${event.kind} ${JSON.stringify(event.data)}`).join('\n');
      throw new Error(`Run ${run} never came to it within ${ms} ms:\n${story}`);
    },

    async closed(run, ms = 60_000) {
      await test.until(run, (event) => event.kind === 'run.closed', ms);
      const answer = await as(OLGA).runs.getRun({ runId: run });
      if (!answer.run) throw new Error('no run');
      return answer.run;
    },

    async decide(run, answer, who = BEN) {
      const { approvals } = await as(who).approvals.listApprovals({ runId: run });
      const approval = approvals[0];
      if (!approval) throw new Error(`Run ${run} has no open approval.`);
      await as(who).approvals.decide({
        requestId: randomUUID(),
        decision: {
          approvalId: approval.id,
          answer: answer === 'approve' ? Answer.APPROVE : Answer.DENY,
          digest: approval.digest,
          reason: 'test',
        },
      });
      return approval.id;
    },

    async stop() {
      for (const connection of open) connection.close();
      await pool.end();
      await temporal.close();
      await stack.stop();
      await remove();
    },
  };
  return test;
}

const ALL_TOOLS = `
  projects: [list_projects, list_tasks_in_project, get_task, create_task, update_task_status, assign_task, delete_task]
  messaging: [send_email]`;

function agentYaml(name: string, options: AgentOptions): string {
  const block = (title: string, values: Readonly<Record<string, unknown>> | undefined): string[] =>
    values ? [`${title}:`, ...Object.entries(values).map(([key, value]) => `  ${key}: ${String(value)}`)] : [];
  return [
    `name: ${name}`,
    'description: For a test.',
    `model: ${options.model ?? 'claude-sonnet-5-5'}`,
    ...(options.fallback === undefined ? [] : [`fallback: ${options.fallback}`]),
    `max_output_tokens: ${options.maxOutputTokens ?? 1024}`,
    'instructions: |',
    '  Do as the script says.',
    '',
    `  script: ${options.script ?? 'plan'}`,
    `tools:${options.tools ?? ALL_TOOLS}`,
    `budget: ${options.budget ?? '$0.50'}`,
    ...block('context', options.contextTokens === undefined ? undefined : { max_tokens: options.contextTokens }),
    ...block('limits', options.limits),
    ...block('waits', options.waits),
    // A file's tests ask with one agent, and all within an hour.
    ...block('anomalies', { approvals_per_hour: 0, ...options.anomalies }),
    '',
  ].join('\n');
}
