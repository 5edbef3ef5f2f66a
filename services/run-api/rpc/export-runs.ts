import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { type SqlBool, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type {
  ExportRunsRequest,
  ExportRunsResponseSchema,
  ModelCostSchema,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { findModel } from '#platform/llm/models.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import type { Place } from '../pages.ts';
import { readRun, selectRuns } from '../run-rows.ts';
import { readSteps } from '../steps.ts';
import { toRun } from '../views/run.ts';

type Item = MessageInitShape<typeof ExportRunsResponseSchema>;
type Cost = MessageInitShape<typeof ModelCostSchema>;

const LONGEST_MS = 92 * 86_400_000;
const RUNS = 20;
const STEPS = 50;
const COSTS = 200;
const MOST_AT_ONCE = 4;

/** Exports under way in this process, by tenant. */
const underWay = new Map<string, number>();

/**
 * Every run of a span, oldest first, with its steps and costs. Each piece is read in a transaction of its own once the
 * reader has taken the one before.
 */
export async function* exportRuns(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ExportRunsRequest,
): AsyncGenerator<Item, void, undefined> {
  const { principal } = ctx;
  const span = spanOf(request);
  const inTenant = <T>(work: (trx: Transaction<Database>) => Promise<T>): Promise<T> => {
    ctx.signal.throwIfAborted();
    return withTenant(deps.db, principal.tenant, work);
  };
  enter(principal.tenant);
  try {
    let place = await inTenant(async (trx): Promise<Place | undefined> => {
      await audit(trx, principal.tenant, {
        actor: principal.subject,
        action: 'runs.export',
        data: { from: span.from.toISOString(), to: span.to.toISOString(), steps: request.steps, costs: request.costs },
      });
      if (request.afterRun === '') return undefined;
      const { created_at_text: at, id } = await readRun(trx, principal, request.afterRun);
      return { at, id };
    });
    for (;;) {
      const runs = await inTenant((trx) => runsAfter(trx, span, place));
      for (const run of runs) {
        yield { item: { case: 'run', value: toRun(run, deps.temporalUi) } };
        if (request.steps) yield* stepsOf(run.id, inTenant);
        if (request.costs) yield* costsOf(run.id, inTenant);
        place = { at: run.created_at_text, id: run.id };
      }
      if (runs.length < RUNS) return;
    }
  } finally {
    leave(principal.tenant);
  }
}

interface Span {
  readonly from: Date;
  readonly to: Date;
}

type InTenant = <T>(work: (trx: Transaction<Database>) => Promise<T>) => Promise<T>;

function spanOf(request: ExportRunsRequest): Span {
  const checks = new Checks();
  const from = checks.time('created_after', request.createdAfter);
  const to = checks.time('created_before', request.createdBefore);
  checks.that(request.createdAfter !== undefined, 'created_after', 'is needed');
  checks.that(request.createdBefore !== undefined, 'created_before', 'is needed');
  const ms = from === undefined || to === undefined ? 1 : to.getTime() - from.getTime();
  checks.that(ms > 0, 'created_before', 'must be later than created_after');
  checks.that(ms <= LONGEST_MS, 'created_before', 'must be at most 92 days later than created_after');
  if (request.afterRun !== '')
    checks.that(/^[0-9a-zA-Z_-]{8,64}$/.test(request.afterRun), 'after_run', 'must be a run id');
  checks.done();
  return { from, to } as Span;
}

function enter(tenant: string): void {
  const others = underWay.get(tenant) ?? 0;
  if (others >= MOST_AT_ONCE) {
    throw new StewardError(
      'LIMIT_REACHED',
      `${MOST_AT_ONCE} exports of your tenant are under way. Wait until one of them has ended, or cancel it.`,
    );
  }
  underWay.set(tenant, others + 1);
}

function leave(tenant: string): void {
  const left = (underWay.get(tenant) ?? 1) - 1;
  if (left === 0) underWay.delete(tenant);
  else underWay.set(tenant, left);
}

async function runsAfter(trx: Transaction<Database>, span: Span, place: Place | undefined) {
  let query = selectRuns(trx)
    .where('r.created_at', '>=', span.from)
    .where('r.created_at', '<', span.to)
    .orderBy('r.created_at')
    .orderBy('r.id')
    .limit(RUNS);
  if (place) query = query.where(sql<SqlBool>`(r.created_at, r.id) > (${place.at}::timestamptz, ${place.id})`);
  return query.execute();
}

async function* stepsOf(runId: string, inTenant: InTenant): AsyncGenerator<Item, void, undefined> {
  for (let after = 0, more = true; more; ) {
    const page = await inTenant((trx) => readSteps(trx, runId, after, STEPS));
    for (const step of page.steps) yield { item: { case: 'step', value: { runId, step } } };
    after = page.steps.at(-1)?.number ?? after;
    more = page.more && page.steps.length > 0;
  }
}

async function* costsOf(runId: string, inTenant: InTenant): AsyncGenerator<Item, void, undefined> {
  let after = { turn: -1, attempt: '' };
  for (;;) {
    const page = await inTenant((trx) => costsAfter(trx, runId, after));
    for (const cost of page) yield { item: { case: 'cost', value: cost } };
    const last = page.at(-1);
    if (last === undefined || page.length < COSTS) return;
    after = { turn: last.turn ?? 0, attempt: last.attemptId ?? '' };
  }
}

async function costsAfter(
  trx: Transaction<Database>,
  runId: string,
  after: { readonly turn: number; readonly attempt: string },
): Promise<Cost[]> {
  const rows = await trx
    .selectFrom('agent_run_costs')
    .select(['attempt_id', 'turn', 'model', 'state', 'reserved_micro_usd', 'settled_micro_usd', 'usage'])
    .select(['answered_by', 'provider_request_id', 'created_at', 'ended_at'])
    .where('run_id', '=', runId)
    .where(sql<SqlBool>`(turn, attempt_id) > (${after.turn}, ${after.attempt})`)
    .orderBy('turn')
    .orderBy('attempt_id')
    .limit(COSTS)
    .execute();
  return rows.map(
    (row): Cost => ({
      runId,
      turn: row.turn,
      attemptId: row.attempt_id,
      model: row.model,
      provider: findModel(row.model)?.provider ?? '',
      state: row.state,
      reservedMicroUsd: BigInt(row.reserved_micro_usd),
      chargedMicroUsd: BigInt(row.settled_micro_usd ?? 0),
      inputTokens: BigInt(row.usage?.input ?? 0),
      outputTokens: BigInt(row.usage?.output ?? 0),
      cacheReadTokens: BigInt(row.usage?.cacheRead ?? 0),
      cacheWriteTokens: BigInt(row.usage?.cacheWrite ?? 0),
      reasoningTokens: BigInt(row.usage?.reasoning ?? 0),
      answeredBy: row.answered_by ?? '',
      providerRequestId: row.provider_request_id ?? '',
      time: timestampFromDate(row.created_at),
      ...(row.ended_at ? { endedAt: timestampFromDate(row.ended_at) } : {}),
    }),
  );
}
