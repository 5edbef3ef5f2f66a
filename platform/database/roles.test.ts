import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';

let database: StewardDatabase;
let tenant: string;
const clients = new Map<string, pg.Client>();

beforeAll(async () => {
  database = await stewardDatabase();
  tenant = await database.tenant({ month_budget_micro_usd: 1_000 });
  const run = await database.run(tenant);
  const query = (text: string): Promise<unknown> => database.query(text, [tenant, run]);
  await query(`insert into steward.agents (tenant, name, hash, definition, yaml, tools, is_current, applied_by)
    select $1, 'helper', repeat('a', 64), '{}', '', '[]', true, left($2, 5)`);
  await query(`insert into steward.agent_run_tool_invocations (tenant, run_id, call_id, turn, ordinal, provider_id, tool,
    sig, verdict, policy_set_hash, state) values ($1, $2, '1.0', 1, 0, 'p', 't', 's', 'deny', 'h', 'denied')`);
  await query(`insert into steward.approvals (tenant, id, run_id, call_id, agent, acting_user, catalog, tool,
    action_record, digest, tier, why, policy_set_hash, state, expires_at)
    values ($1, 'a1', $2, '1.0', 'helper', 'ann', 'c', 't', '', 'd', 3, '{}', 'h', 'open', now())`);
  await query(`insert into steward.ledger_accounts (tenant, id, limit_micro_usd) values ($1, 'run/' || $2, 5)`);
  await query(`insert into steward.audit_log (tenant, actor, action, entry) values ($1, $2, 'x', '{}')`);
  for (const role of ['steward_run_api', 'steward_guard', 'steward_worker']) {
    const client = new pg.Client({ connectionString: await database.urlAs(role), connectionTimeoutMillis: 10_000 });
    await client.connect();
    await client.query(`select set_config('app.tenant', $1, false)`, [tenant]);
    clients.set(role, client);
  }
}, 120_000);

afterAll(async () => {
  for (const client of clients.values()) await client.end();
  await database.drop();
}, 60_000);

const codeOf = async (role: string, statement: string): Promise<unknown> =>
  clients
    .get(role)
    ?.query(`${statement}`)
    .then(
      () => 'done',
      (error: { code?: unknown }) => error.code,
    );

const ledger = (id: string, limit: number): string =>
  `insert into steward.ledger_accounts (tenant, id, limit_micro_usd) select id, '${id}', ${limit} from steward.tenants`;
const entry = (kind: string): string => `insert into steward.ledger_entries (tenant, account, kind, amount_micro_usd)
  select tenant, id, '${kind}', 1 from steward.ledger_accounts limit 1`;
const decide = `insert into steward.approval_decisions
  (tenant, id, approval_id, run_id, call_id, answer, digest, decided_by, roles, request_id, via)
  select tenant, 'd1', id, run_id, call_id, 'approve', digest, 'eve', '{approver}', 'r', 'decide' from steward.approvals`;

test.each([
  ['steward_worker', 'update steward.ledger_accounts set limit_micro_usd = 1000000000'],
  ['steward_worker', ledger('run/r2', 1_000_000)],
  ['steward_worker', ledger('tenant-month/2099-01', 1_000_000)],
  ['steward_worker', entry('raise')],
  ['steward_worker', 'update steward.tenants set month_budget_micro_usd = 1000000000'],
  ['steward_worker', decide],
  ['steward_worker', "update steward.agent_run_tool_invocations set verdict = 'allow'"],
  ['steward_worker', "update steward.agent_run_tool_invocations set digest = 'x', action_record = ''"],
  ['steward_worker', 'update steward.agent_run_tool_invocations set resource_keys = default'],
  ['steward_worker', "update steward.approvals set digest = 'x'"],
  ['steward_worker', 'update steward.approvals set expires_at = now()'],
  ['steward_worker', 'update steward.agent_runs set cancel_requested_by = null'],
  ['steward_worker', 'update steward.agent_runs set paused_by = null'],
  ['steward_worker', 'update steward.agent_runs set tool_calls = 0'],
  ['steward_worker', "update steward.agent_runs set limits = '{}'"],
  ['steward_worker', "update steward.agent_runs set tools = '{}', resources = '{}'"],
  ['steward_worker', "update steward.agents set tools = '[]'"],
  ['steward_worker', "update steward.agent_run_costs set reserved_micro_usd = 0, model = 'cheap'"],
  ['steward_guard', 'update steward.ledger_accounts set limit_micro_usd = 1'],
  ['steward_guard', "update steward.approvals set digest = 'x'"],
  ['steward_guard', "update steward.agent_run_tool_invocations set action_record = ''"],
  ['steward_run_api', decide],
  ['steward_run_api', "update steward.approvals set state = 'approved'"],
  ['steward_run_api', "update steward.agents set tools = '[]'"],
  ['steward_run_api', 'update steward.ledger_accounts set settled_micro_usd = 0'],
  ['steward_run_api', entry('overage')],
  ['steward_run_api', "update steward.agent_runs set tools = '{}'"],
  ...['steward_run_api', 'steward_guard', 'steward_worker'].flatMap((role) => [
    // The worker removes what has outlived its tier: audit-retention.test.ts.
    ...(role === 'steward_worker' ? [] : [[role, 'delete from steward.audit_log']]),
    [role, "update steward.audit_log set actor = 'nobody'"],
    [role, 'delete from steward.audit_chain'],
    [role, 'update steward.audit_chain set number = 1'],
    [role, "update steward.outbox set payload = '{}'"],
    [role, 'delete from steward.approval_decisions'],
    [role, "update steward.approval_decisions set answer = 'approve'"],
    [role, "update steward.agent_runs set run_grant = 'x'"],
    [role, 'alter table steward.agent_runs disable row level security'],
  ]),
])('%s may not: %s', async (role, statement) => {
  expect(await codeOf(role, statement)).toBe('42501');
});

test('the worker opens a new month at the limit the tenant has', async () => {
  expect(await codeOf('steward_worker', ledger('tenant-month/2099-02', 1_000))).toBe('done');
  expect(await codeOf('steward_worker', entry('charge'))).toBe('done');
});

test('no role sees or writes a row of another tenant', async () => {
  const other = await database.tenant();
  await database.run(other);
  for (const [role, client] of clients) {
    const { rows } = await client.query('select distinct tenant from steward.agent_runs');
    expect(rows).toEqual([{ tenant }]);
    const statement = `insert into steward.audit_log (tenant, actor, action) values ('${other}', 'eve', 'x')`;
    expect(await codeOf(role, statement)).toBe('42501');
  }
});
