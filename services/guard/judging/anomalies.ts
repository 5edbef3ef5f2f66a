import { type Kysely, sql, type Transaction } from 'kysely';
import {
  type Anomaly,
  anomaliesOf,
  anomalyText,
  type Baseline,
  DEFAULT_ANOMALIES,
  NOTHING_WATCHED,
  WATCHER,
  type Watched,
  watch,
} from '#domain/anomaly.ts';
import type { ErrorCode } from '#domain/errors.ts';
import { openInvestigation } from '#platform/database/investigations.ts';
import { audit, type NewEvent, type RunChange } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import { LruCache } from '#platform/identity/lru-cache.ts';
import type { RunRow } from '../runs.ts';
import type { JudgedCall } from './judge-turn.ts';

const REMEMBERED = 1_000;
const FRESH_MS = 60_000;
/** Runs that a baseline looks back on. */
const LOOKED_AT = 50;
/** What a model proposes that was never offered to it, or lies outside of what its run may touch. */
const UNAUTHORISED: ReadonlySet<ErrorCode> = new Set([
  'TOOL_UNKNOWN',
  'RESOURCE_DENIED',
  'NOT_PERMITTED',
  'POLICY_DENIED',
]);

/** What the agents of all tenants usually do; asked anew once a minute at most. */
export interface Baselines {
  of(trx: Transaction<Database> | Kysely<Database>, tenant: string, agent: string): Promise<Baseline>;
}

/** Medians over an agent's last 50 completed runs. */
export function createBaselines(now: () => number = Date.now): Baselines {
  const known = new LruCache<string, { readonly baseline: Baseline; readonly until: number }>(REMEMBERED);
  return {
    async of(trx, tenant, agent) {
      const key = `${tenant}/${agent}`;
      const remembered = known.get(key);
      if (remembered && now() < remembered.until) return remembered.baseline;
      const { rows } = await sql<Baseline>`
        with last as (
          select tool_calls, coalesce((watched ->> 'destructive')::int, 0) as destructive,
            (select a.settled_micro_usd from ledger_accounts a where a.tenant = r.tenant and a.id = 'run/' || r.id) as cost
          from agent_runs r where tenant = ${tenant} and agent = ${agent} and status = 'completed'
          order by closed_at desc limit ${LOOKED_AT})
        select count(*)::int as runs,
          coalesce(percentile_disc(0.5) within group (order by tool_calls), 0)::int as calls,
          coalesce(percentile_disc(0.5) within group (order by destructive), 0)::int as destructive,
          coalesce(percentile_disc(0.5) within group (order by cost), 0)::int8 as "costMicroUsd"
        from last`.execute(trx);
      const baseline = rows[0] ?? { runs: 0, calls: 0, costMicroUsd: 0, destructive: 0 };
      known.set(key, { baseline, until: now() + FRESH_MS });
      return baseline;
    },
  };
}

/** What a turn is to the run's watch. */
export interface Watching {
  readonly watched: Watched;
  readonly anomalies: readonly Anomaly[];
}

/** Looks at a turn's calls with what the run has done before. `open`: whether the run could be paused for it. */
export async function watchTurn(
  trx: Transaction<Database>,
  baselines: Baselines,
  run: RunRow,
  turn: { readonly calls: readonly JudgedCall[]; readonly spent: number; readonly open: boolean },
): Promise<Watching> {
  const { calls, spent, open } = turn;
  const watched = watch(
    { ...NOTHING_WATCHED, ...run.watched },
    calls.map(({ sig, tool, finding }) => ({
      sig,
      destructive: tool?.risk === 'destructive' || tool?.risk === 'irreversible',
      unauthorised: finding.verdict === 'deny' && UNAUTHORISED.has(finding.code),
    })),
  );
  if (!open) return { watched, anomalies: [] };
  const admitted = calls.filter(({ finding }) => finding.verdict !== 'deny').length;
  const asked = calls.filter(({ finding, tool }) => finding.verdict === 'ask' && tool?.risk !== 'cautious').length;
  const behaviour = {
    calls: run.tool_calls + admitted,
    costMicroUsd: spent,
    askedWithinHour: asked === 0 ? null : asked + (await askedBefore(trx, run)),
  };
  const baseline = await baselines.of(trx, run.tenant, run.agent);
  const anomalies = anomaliesOf(watched, behaviour, { ...DEFAULT_ANOMALIES, ...run.anomaly_limits }, baseline);
  return { watched: { ...watched, fired: [...watched.fired, ...anomalies.map(({ kind }) => kind)] }, anomalies };
}

async function askedBefore(trx: Transaction<Database>, run: RunRow): Promise<number> {
  const { n } = await trx
    .selectFrom('approvals')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('agent', '=', run.agent)
    .where('created_at', '>', sql<Date>`now() - interval '1 hour'`)
    .executeTakeFirstOrThrow();
  return Number(n);
}

/** What pausing a run for its anomalies writes into its row and its journal. */
export function pauseFor(run: RunRow, anomalies: readonly Anomaly[]): { run: RunChange; events: NewEvent[] } {
  const until = new Date(Date.now() + run.waits.pauseMs);
  const what = anomalies.map(anomalyText);
  const reason = `unusual: ${what.join('; ')}`;
  return {
    run: { status: 'paused', paused_by: WATCHER, waits_until: until },
    events: [
      { kind: 'run.anomaly', data: { kinds: anomalies.map(({ kind }) => kind), what } },
      { kind: 'run.paused', data: { by: WATCHER, reason, until: until.getTime() } },
    ],
  };
}

/** The rest of it: the queue of those to be looked at, the audit log, and what is owed to the workflow. */
export async function reportAnomalies(
  trx: Transaction<Database>,
  run: RunRow,
  turn: number,
  anomalies: readonly Anomaly[],
): Promise<number> {
  const evidence = anomalies.map((anomaly) => ({ ...anomaly, turn, text: anomalyText(anomaly) }));
  await openInvestigation(trx, run.tenant, run.id, 'anomaly', evidence);
  await audit(trx, run.tenant, { actor: WATCHER, action: 'run.anomaly', run: run.id, data: { evidence } });
  return enqueue(trx, run.tenant, { kind: 'pause', runId: run.id, payload: { by: WATCHER } });
}
