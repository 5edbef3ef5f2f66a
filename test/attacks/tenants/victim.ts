import { randomBytes, randomUUID } from 'node:crypto';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { runGrantSigner } from '#platform/identity/grants.ts';
import type { TestStack, Who } from '#test/support/stack.ts';
import { tenantTables } from './lint.ts';
import type { Values } from './requests.ts';

/** The other tenant, which has an agent and a run of its own. */
export const RIVAL = 'rival';
const SETTLED_MS = 30_000;

/** One tenant with something of everything, marked so that it is known wherever it turns up. */
export interface Victim {
  readonly tenant: string;
  /** Whose runs they are. */
  readonly user: string;
  /** Stands in what every member of the tenant may read: agents and settings. */
  readonly tenantMark: string;
  /** Stands in what only its people see: what runs were told and did, whom they act for. */
  readonly runMark: string;
  readonly runs: readonly string[];
  /** What is put into requests, by the name of the field. */
  readonly values: Values;
  /** A grant for a run of `user` in `tenant`, with every tool of every catalog. */
  grantFor(tenant: string, user: string, run: string): Promise<string>;
  /** A fingerprint of every row it has; `own`: of those only that have to do with its runs. */
  fingerprint(own?: boolean): Promise<string>;
}

/** Fills the local tenant of a fresh stack, and makes the other one. */
export async function makeVictim(test: TestStack): Promise<Victim> {
  const mark = randomBytes(5).toString('hex');
  const [tenantMark, runMark] = [`tenantcanary${mark}`, `runcanary${mark}`];
  const user = `ada-${runMark}@acme.example`;
  const desk: Who = { subject: 'release-desk', roles: ['service'], onBehalfOf: user };
  await markData(test, runMark, user);
  await test.query(`update steward.tenants set allowed_email_domains = array[$1] where id = $2`, [
    `${tenantMark}.example`,
    DEV_TENANT,
  ]);
  const agent = await test.applyAgent({ name: `desk-${tenantMark}`, tools: TOOLS });
  const start = async (turns: object[][]): Promise<string> => {
    const input = `params: ${JSON.stringify({ turns, final: `Over, ${runMark}.` })}`;
    const request = { requestId: randomUUID(), agent, input, labels: { desk: runMark } };
    const { run } = await test.as(desk).runs.startRun(request);
    if (!run) throw new Error('no run');
    return run.id;
  };
  const task = { project_id: 'apollo', title: `Made by ${runMark}` };
  const done = await start([
    [
      { tool: 'create_task', args: task },
      { tool: 'send_message_to_user', args: { text: `Hello ${runMark}` } },
    ],
    [{ tool: 'list_tasks_in_project', args: { project_id: 'apollo' } }],
  ]);
  await test.closed(done);
  const [first] = await test.query<{ id: string }>(
    `select id from projects.tasks where tenant = $1 and project_id = 'apollo' and status = 'open' order by id limit 1`,
    [DEV_TENANT],
  );
  const waiting = await start([[{ tool: 'delete_task', args: { task_id: first?.id } }]]);
  await test.until(waiting, (event) => event.kind === 'approval.asked');
  const olga: Who = { subject: 'olga@acme.example', roles: ['operator', 'approver', 'admin'] };
  const { runs, approvals } = test.as(olga);
  const { undo } = await runs.undoRun({
    runId: done,
    requestId: randomUUID(),
    reason: `undo ${runMark}`,
    callIds: ['1.0'],
  });
  await runs.raiseBudget({ runId: waiting, requestId: randomUUID(), addMicroUsd: 1_000n, reason: runMark });
  await test.as(desk).runs.sendMessage({ runId: waiting, requestId: randomUUID(), text: `Mind ${runMark}.` });
  const open = (await approvals.listApprovals({ runId: waiting })).approvals[0];
  if (!open || !undo) throw new Error('The victim has no approval or no undo.');
  const switchId = randomUUID();
  await test.query(
    `insert into steward.kill_switches (tenant, id, scope, target, mode, action, reason, set_by, told_at)
     values ($1, $2, 'agent', $3, 'kill', 'cancel', $3, $4, now())`,
    [DEV_TENANT, switchId, `nobody-${runMark}`, user],
  );
  const { agent: version } = await test.as(olga).admin.getAgent({ name: agent });
  const values: Values = {
    runId: waiting,
    afterRun: done,
    continues: done,
    callId: open.callId,
    undoId: undo.id,
    approvalId: open.id,
    switchId,
    digest: open.digest,
    answer: Answer.APPROVE,
    reason: 'an attack',
    agent,
    name: agent,
    agentHash: version?.hash,
    hash: version?.hash,
    actingUser: user,
    user,
    subject: user,
    actor: user,
    target: waiting,
    key: `${done}/1.0`,
    text: 'Over,',
    input: 'Hello.',
    turn: 1,
    addMicroUsd: 1_000_000n,
    yaml: `name: ${agent}\n`,
    tier: 'free',
    steps: true,
    costs: true,
    textDeltas: true,
    workflowId: `run/${waiting}`,
    callIds: ['1.0'],
    from: timestampFromDate(new Date(Date.now() - 3_600_000)),
    to: timestampFromDate(new Date(Date.now() + 3_600_000)),
    createdAfter: timestampFromDate(new Date(Date.now() - 3_600_000)),
    createdBefore: timestampFromDate(new Date(Date.now() + 3_600_000)),
  };
  await makeRival(test);
  const [ofAll, ofRuns] = [await fingerprinter(test, false), await fingerprinter(test, true)];
  const victim: Victim = {
    tenant: DEV_TENANT,
    user,
    tenantMark,
    runMark,
    runs: [done, waiting],
    values,
    grantFor: (tenant, acting, run) => grant(test, tenant, acting, run),
    fingerprint: async (own = false) =>
      JSON.stringify(await test.query(own ? ofRuns : ofAll, [DEV_TENANT, [done, waiting]])),
  };
  await settled(victim);
  return victim;
}

const TOOLS = `
  projects: [list_projects, list_tasks_in_project, get_task, create_task, update_task_status, assign_task, delete_task]
  messaging: [send_email, send_message_to_user, list_messages]`;

/** What the demo has put there gets the mark: other people's words in the victim's records. */
async function markData(test: TestStack, mark: string, user: string): Promise<void> {
  for (const [table, column] of [
    ['projects.projects', 'name'],
    ['projects.tasks', 'title'],
    ['projects.tasks', 'notes'],
    ['orders.customers', 'last_name'],
    ['orders.products', 'name'],
    ['orders.orders', 'cancel_reason'],
  ]) {
    await test.query(`update ${table} set ${column} = coalesce(${column}, '') || $1 where tenant = $2`, [
      ` ${mark}`,
      DEV_TENANT,
    ]);
  }
  await test.query(
    `insert into projects.project_members (tenant, project_id, member)
     select tenant, id, $1 from projects.projects where tenant = $2`,
    [user, DEV_TENANT],
  );
}

async function makeRival(test: TestStack): Promise<void> {
  await test.query(
    `insert into steward.tenants (id, tier, month_budget_micro_usd, max_concurrent_runs, max_runs_per_day)
     values ($1, 'enterprise', 1000000000, 100, 100000)`,
    [RIVAL],
  );
}

async function grant(test: TestStack, tenant: string, user: string, run: string): Promise<string> {
  return runGrantSigner(test.stack.secrets.runGrants.privateJwk).sign({
    tenant,
    user,
    run,
    agent: 'attack',
    agentHash: '0'.repeat(64),
    tools: {},
    resources: [],
    permissions: [],
  });
}

/** Written in the background, of things that have happened before. */
const BACKGROUND = /^steward\.(audit_|outbox$|run_traces$|tenant_baselines$)/;
/** Shared by all runs of a tenant. */
const SHARED_BY_RUNS = /^steward\.(audit_|outbox$|run_traces$|ledger_|quantity_|tenant)/;

/** One statement that fingerprints all tables; `$1` is the tenant, `$2` the runs. */
async function fingerprinter(test: TestStack, own: boolean): Promise<string> {
  const withRun = await test.query<{ name: string }>(
    `select table_schema || '.' || table_name as name from information_schema.columns where column_name = 'run_id'`,
  );
  const ofRuns = new Map(withRun.map(({ name }) => [name, 'run_id']));
  ofRuns.set('steward.agent_runs', 'id');
  const parts = (await tenantTables(test.query))
    .filter(({ name }) => !(own ? SHARED_BY_RUNS : BACKGROUND).test(name))
    .map(({ name, column }) => {
      const run = ofRuns.get(name);
      const only = own && run !== undefined ? `and t.${run} = any($2)` : '';
      return `select '${name}' as name, md5(string_agg(t::text, ',' order by t::text)) as print from ${name} t
        where t.${column} = $1 ${only}`;
    });
  return `with given as (select $2::text[]) ${parts.join(' union all ')} order by 1`;
}

/** Waits until what was begun for the victim has come to rest: from then on, only an attack changes anything. */
async function settled(victim: Victim): Promise<void> {
  const until = Date.now() + SETTLED_MS;
  let [before, same] = ['', 0];
  while (same < 4) {
    if (Date.now() > until) throw new Error('The victim does not come to rest.');
    const now = await victim.fingerprint();
    same = now === before ? same + 1 : 0;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
