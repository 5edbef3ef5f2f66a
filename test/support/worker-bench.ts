import { randomUUID } from 'node:crypto';
import type { AgentDefinition } from '#domain/agent.ts';
import type { AssistantBlock, ModelStop, Usage } from '#domain/conversation.ts';
import { keyOf, parseCallId, runAccount } from '#domain/ids.ts';
import type { JsonValue } from '#domain/json.ts';
import type { ModelAnswer, ModelRequest } from '#domain/ports/model.ts';
import type { OpenedTurn, RunRef } from '#domain/ports/run-store.ts';
import { DEFAULT_LIMITS, DEFAULT_WAITS } from '#domain/run.ts';
import { createCallStore } from '#platform/database/calls.ts';
import { createCloseStore } from '#platform/database/closing.ts';
import { connect } from '#platform/database/connect.ts';
import { record } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { createTurnStore } from '#platform/database/turns.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import { type RunGrant, runGrantSigner, runGrantVerifier } from '#platform/identity/grants.ts';
import { testKey } from './identity.ts';
import { stewardDatabase } from './steward-database.ts';

/** A row, or JSON in one, as it came back: looked into by tests only. */
// biome-ignore lint/suspicious/noExplicitAny: its shape is what tests are about.
export type Row = Record<string, any>;

export const AGENT: AgentDefinition = {
  name: 'helper',
  description: 'Helps.',
  instructions: 'Be helpful.',
  model: 'offline-1',
  maxOutputTokens: 1_000,
  tools: {},
  limits: DEFAULT_LIMITS,
  budgetMicroUsd: 100_000,
  waits: DEFAULT_WAITS,
};

export interface SeededRun {
  readonly ref: RunRef;
  readonly grant: string;
  row(): Promise<Row>;
  events(): Promise<Row[]>;
  /** Kinds of the events, in order. */
  kinds(): Promise<string[]>;
  steps(): Promise<Row[]>;
  costs(): Promise<Row[]>;
  call(callId: string): Promise<Row>;
  /** The run's own account. */
  account(): Promise<Row>;
  /** A call as the guard leaves it when it has judged it; overrides by column. Returns its digest. */
  judge(callId: string, columns?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Opens a turn for an attempt, as `think` does, with a prompt of 1,000 tokens. */
  open(
    turn: number,
    more?: { readonly id?: string; readonly number?: number; readonly input?: number },
  ): Promise<Opened>;
  /** As `open`, with a prompt as long as `estimate` says. */
  openWith(turn: number, estimate: (request: ModelRequest) => number): Promise<Opened>;
}

export interface Opened {
  readonly id: string;
  readonly opened: OpenedTurn;
}

export interface SeedOptions {
  readonly tenant?: string;
  readonly budget?: number;
  /** The first user message. */
  readonly input?: string;
  readonly columns?: Readonly<Record<string, unknown>>;
  readonly grant?: Partial<RunGrant>;
  /** The model that the run's agent names as its fallback. */
  readonly fallback?: string;
}

/** The worker's stores over a real database, as the role they have in production. */
export async function workerBench(options: { readonly now?: () => Date } = {}) {
  const database = await stewardDatabase();
  const { key, jwks } = await testKey();
  const url = await database.urlAs('steward_worker');
  const pool = connect<Database>(url, { max: 16, connectMs: 20_000 });
  const signer = runGrantSigner(key);
  const woken: string[] = [];
  const parts = {
    db: pool.db,
    grants: runGrantVerifier(jwks),
    notifier: { wake: (run: string) => void woken.push(run) },
    ...options,
  };
  const turns = createTurnStore(parts);
  return {
    database,
    /** Of the database, as the worker. */
    url,
    db: pool.db,
    jwks,
    signer,
    woken,
    turns,
    calls: { ...createCallStore(parts), ...createCloseStore(parts) },
    parts,

    async run(seed: SeedOptions = {}): Promise<SeededRun> {
      const tenant = seed.tenant ?? (await database.tenant());
      const definition = seed.fallback === undefined ? AGENT : { ...AGENT, fallback: seed.fallback };
      const hash = digestOf(canonicalJson(definition as unknown as JsonValue));
      await database.query(
        `insert into steward.agents (tenant, name, hash, definition, yaml, tools, is_current, applied_by)
         values ($1, 'helper', $2, $3, '', '[]', true, 'test') on conflict do nothing`,
        [tenant, hash, JSON.stringify(definition)],
      );
      const id = await database.run(tenant, {
        status: 'pending',
        limits: JSON.stringify(DEFAULT_LIMITS),
        waits: JSON.stringify(DEFAULT_WAITS),
        agent_hash: hash,
        ...seed.columns,
      });
      const grant = await signer.sign({
        tenant,
        run: id,
        user: 'ann@acme',
        agent: 'helper',
        agentHash: hash,
        tools: {},
        resources: [],
        permissions: [],
        ...seed.grant,
      });
      await database.query('update steward.agent_runs set run_grant = $2 where id = $1', [id, grant]);
      await database.query('insert into steward.ledger_accounts (tenant, id, limit_micro_usd) values ($1, $2, $3)', [
        tenant,
        runAccount(id),
        seed.budget ?? AGENT.budgetMicroUsd,
      ]);
      await withTenant(pool.db, tenant, (trx) =>
        record(trx, tenant, id, {
          steps: [{ kind: 'user_message', turn: 0, content: { text: seed.input ?? 'Do it.' } }],
        }),
      );
      return seededRun(database, turns, { tenant, run: id }, grant);
    },

    async stop() {
      await pool.close();
      await database.drop();
    },
  };
}

type Bench = Awaited<ReturnType<typeof workerBench>>;

function seededRun(database: Bench['database'], turns: Bench['turns'], ref: RunRef, grant: string): SeededRun {
  const all = (from: string) => database.query<Row>(`select * from steward.${from}`, [ref.run]);
  const one = async (from: string, values: readonly unknown[] = [ref.run]) =>
    (await database.query<Row>(`select * from steward.${from}`, values))[0] as Row;
  const events = () => all('agent_run_events where run_id = $1 order by sequence');
  return {
    ref,
    grant,
    events,
    row: () => one('agent_runs where id = $1'),
    kinds: async () => (await events()).map((event) => event.kind as string),
    steps: () => all('agent_run_steps where run_id = $1 order by number'),
    costs: () => all('agent_run_costs where run_id = $1 order by created_at'),
    call: (callId) => one('agent_run_tool_invocations where run_id = $1 and call_id = $2', [ref.run, callId]),
    account: () => one('ledger_accounts where id = $1', [runAccount(ref.run)]),
    async judge(callId, columns = {}) {
      const digest = 'd'.repeat(64);
      const { turn, index } = parseCallId(callId) ?? { turn: 0, index: 0 };
      const row = {
        tenant: ref.tenant,
        run_id: ref.run,
        call_id: callId,
        turn,
        ordinal: index,
        provider_id: `toolu_${callId}`,
        catalog: 'desk',
        tool: 'edit_note',
        digest,
        key: keyOf(ref.run, callId),
        sig: 's',
        verdict: 'allow',
        policy_set_hash: 'p',
        has_effect: true,
        timeout_ms: 5_000,
        state: 'judged',
        ...columns,
      };
      const names = Object.keys(row);
      await database.query(
        `insert into steward.agent_run_tool_invocations (${names.join(', ')})
         values (${names.map((_, index) => `$${index + 1}`).join(', ')})`,
        Object.values(row),
      );
      return digest;
    },
    async openWith(turn, estimate) {
      const id = randomUUID();
      const attempt = { id, number: 1, deadlineAt: new Date(Date.now() + 60_000) };
      return { id, opened: await turns.openTurn(ref, turn, attempt, estimate) };
    },
    async open(turn, more = {}) {
      const id = more.id ?? randomUUID();
      const attempt = { id, number: more.number ?? 1, deadlineAt: new Date(Date.now() + 60_000) };
      return { id, opened: await turns.openTurn(ref, turn, attempt, (_: ModelRequest) => more.input ?? 1_000) };
    },
  };
}

/** What a model said, by default a final text with a little usage. */
export function answer(
  content: readonly AssistantBlock[] = [{ type: 'text', text: 'Done.' }],
  more: { readonly usage?: Partial<Usage>; readonly stop?: ModelStop } = {},
): ModelAnswer {
  const calls = content.some((block) => block.type === 'tool_call');
  return {
    content,
    stop: more.stop ?? (calls ? 'tool_use' : 'end_turn'),
    usage: { input: 100, output: 20, cacheRead: 0, cacheWrite: 0, reasoning: 0, ...more.usage },
    model: 'offline-1',
    requestId: 'req_1',
  };
}

/** A call as a model proposes it. */
export function proposed(
  callId: string,
  tool = 'edit_note',
  args: Readonly<Record<string, unknown>> = {},
): AssistantBlock {
  return { type: 'tool_call', callId, providerId: `toolu_${callId}`, tool, args };
}
