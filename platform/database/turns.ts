import { type Kysely, sql, type Transaction } from 'kysely';
import type { ModelAnswer, ModelRequest } from '#domain/ports/model.ts';
import type { AttemptEnd, OpenedTurn, RunRef, StoredTurn, TurnStore } from '#domain/ports/run-store.ts';
import { affordableOutput, priceOf, worstCase } from '#domain/pricing.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { costWarnings, exhausted, turnWarnings } from './budget.ts';
import { loadConversation, type StoredMessage } from './conversation.ts';
import { record } from './journal.ts';
import { attemptOf, lockRemainders, reserve, runCost, settle } from './ledger.ts';
import type { Notifier } from './notify.ts';
import { AgentVersions, lockRun, modelToolsOf, type RunRow, readRun, verifyRow } from './run-row.ts';
import { cutText, storableText } from './storable.ts';
import { proposalsOf, readStored, textOf, tokensOf } from './stored-turns.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** A model call that could write fewer tokens than this is not worth its money: the budget counts as spent. */
const LEAST_OUTPUT = 256;
/** Failed attempts of one turn before the run gives its model up. */
export const TURN_ATTEMPTS = 10;
/** Characters of an answer's text in its event; the whole of it stands in the step. */
const SHOWN_TEXT = 4_000;

export interface TurnStoreDeps {
  readonly db: Kysely<Database>;
  readonly grants: RunGrantVerifier;
  readonly notifier: Pick<Notifier, 'wake'>;
  readonly now?: () => Date;
}

/** Turns in Postgres. */
export function createTurnStore(deps: TurnStoreDeps): TurnStore {
  const versions = new AgentVersions();
  const now = deps.now ?? (() => new Date());
  /** One transaction, after which the run's watchers look. */
  async function inTenant<T>(ref: RunRef, work: (trx: Transaction<Database>) => Promise<T>): Promise<T> {
    const result = await withTenant(deps.db, ref.tenant, work);
    deps.notifier.wake(ref.run);
    return result;
  }

  return {
    openTurn: (ref, turn, attempt, estimate) =>
      inTenant(ref, async (trx): Promise<OpenedTurn> => {
        const run = await readRun(trx, ref);
        await verifyRow(deps.grants, ref, run.run_grant);
        const stored = await readStored(trx, ref, turn);
        if (stored) return { kind: 'stored', turn: stored, runGrant: run.run_grant };
        const stopped = whyNotNow(run);
        if (stopped) return stopped;
        const earlier = await earlierAttempts(trx, ref, turn);
        if (earlier.failed >= TURN_ATTEMPTS) return { kind: 'gave_up', attempts: earlier.failed };

        const version = await versions.read(trx, run);
        const request: ModelRequest = {
          model: run.model,
          system: version.definition.instructions,
          tools: modelToolsOf(version, run),
          messages: await loadConversation(trx, ref.run),
          maxOutputTokens: run.max_output_tokens,
          turn,
          runId: ref.run,
        };
        const input = estimate(request);
        const at = now();
        const remainders = await lockRemainders(trx, ref.tenant, ref.run, at);
        // What was read above may have changed before the locks were held: another attempt, a cancel, a pause, the end.
        const locked = await lockRun(trx, ref);
        const late = locked.turns >= turn ? await readStored(trx, ref, turn) : null;
        if (late) return { kind: 'stored', turn: late, runGrant: run.run_grant };
        const stoppedLate = whyNotNow(locked);
        if (stoppedLate) return stoppedLate;

        const least = Math.min(LEAST_OUTPUT, run.max_output_tokens);
        const tightest = remainders[0].micro <= remainders[1].micro ? remainders[0] : remainders[1];
        const output = Math.min(run.max_output_tokens, affordableOutput(run.model, input, tightest.micro, at));
        if (output < least) {
          const need = worstCase(run.model, input, least, at) - tightest.micro;
          await exhausted(trx, ref, locked, tightest, need, at);
          return { kind: 'budget', level: tightest.level, needMicroUsd: need };
        }
        const reserved = worstCase(run.model, input, output, at);
        await reserve(trx, ref.tenant, ref.run, remainders[1].account, {
          id: attempt.id,
          turn,
          model: run.model,
          reserve: reserved,
          at,
          deadlineAt: attempt.deadlineAt,
        });
        // A retried call replaces its own text.
        if (earlier.any) await deleteDeltas(trx, ref, turn);
        await begin(trx, ref, locked, { turn, attempt: attempt.number, reserved });
        return {
          kind: 'reserved',
          request: { ...request, maxOutputTokens: output },
          reservedMicroUsd: reserved,
          runGrant: run.run_grant,
        };
      }),

    storeAnswer: (ref, turn, attemptId, answer, activeMs) =>
      inTenant(ref, (trx) => store(trx, ref, turn, attemptId, answer, activeMs, now())),

    endAttempt: (ref, turn, attemptId, end, failure) =>
      inTenant(ref, async (trx) => {
        const { costMicroUsd, first } = await settleEnd(trx, ref, attemptId, end, now());
        const run = await lockRun(trx, ref);
        if (first && !run.closed_at) {
          const failed = { ...failure, message: cutText(failure.message, 2_000), cost: costMicroUsd };
          await record(trx, ref.tenant, ref.run, {
            events: [
              { kind: 'turn.failed', turn, data: failed },
              ...costWarnings(await runCost(trx, ref.run), turn, costMicroUsd),
            ],
          });
        }
        return costMicroUsd;
      }),

    addText: async (ref, turn, attempt, start, text) => {
      await inTenant(ref, (trx) =>
        trx
          .insertInto('agent_run_text_deltas')
          .values({ tenant: ref.tenant, run_id: ref.run, turn, attempt, start, text: storableText(text) })
          .onConflict((conflict) => conflict.doNothing())
          .execute(),
      );
    },
  };
}

/** Why no model call may begin now; null where one may. */
function whyNotNow(run: RunRow): OpenedTurn | null {
  if (run.closed_at) return { kind: 'closed', status: run.status };
  if (run.cancel_requested_by !== null) return { kind: 'cancelled' };
  return run.status === 'paused' || run.paused_by !== null ? { kind: 'paused' } : null;
}

async function earlierAttempts(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
): Promise<{ readonly any: boolean; readonly failed: number }> {
  const rows = await trx
    .selectFrom('agent_run_costs')
    .select('state')
    .where('run_id', '=', ref.run)
    .where('turn', '=', turn)
    .execute();
  return { any: rows.length > 0, failed: rows.filter((row) => row.state !== 'reserved').length };
}

async function begin(
  trx: Transaction<Database>,
  ref: RunRef,
  run: RunRow,
  call: { readonly turn: number; readonly attempt: number; readonly reserved: number },
): Promise<void> {
  const { turn, attempt, reserved } = call;
  const first = run.turns === 0 && run.status === 'pending';
  await record(trx, ref.tenant, ref.run, {
    events: [
      ...(first ? [{ kind: 'run.started', data: { model: run.model } } as const] : []),
      { kind: 'turn.started', turn, data: { model: run.model, attempt, reserved } },
    ],
    ...(run.status === 'pending' || run.status === 'budget_exceeded'
      ? { run: { status: 'running' as const, waits_until: null } }
      : {}),
  });
}

async function store(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
  attemptId: string,
  answer: ModelAnswer,
  activeMs: number,
  at: Date,
): Promise<StoredTurn> {
  const attempt = await attemptOf(trx, ref.run, attemptId);
  const cost = priceOf(attempt.model, answer.usage, attempt.createdAt);
  await lockRemainders(trx, ref.tenant, ref.run, at);
  const settlement = await settle(trx, ref.tenant, attemptId, {
    cost,
    usage: answer.usage,
    answeredBy: storableText(cutText(answer.model, 200)),
    requestId: answer.requestId === null ? null : storableText(cutText(answer.requestId, 200)),
  });
  const run = await lockRun(trx, ref);
  const already = await readStored(trx, ref, turn);
  if (already) return already;

  const proposals = proposalsOf(answer.content);
  const turned: StoredTurn = {
    stop: answer.stop,
    proposals,
    costMicroUsd: settlement.costMicroUsd,
    tokens: tokensOf(answer.usage),
    overage: settlement.overage,
  };
  // Only its cost counts any more: a closed run never changes.
  if (run.closed_at) return turned;

  const message: StoredMessage = { content: answer.content, stop: answer.stop, attempt: attemptId };
  const spent = await runCost(trx, ref.run);
  await record(trx, ref.tenant, ref.run, {
    run: {
      turns: turn,
      active_ms: Math.round(activeMs),
      model_calls: sql`model_calls + 1`,
      input_tokens: sql`input_tokens + ${answer.usage.input}`,
      output_tokens: sql`output_tokens + ${answer.usage.output}`,
      cache_read_tokens: sql`cache_read_tokens + ${answer.usage.cacheRead}`,
      cache_write_tokens: sql`cache_write_tokens + ${answer.usage.cacheWrite}`,
    },
    steps: [
      { kind: 'model_message', turn, content: message, model: answer.model, costMicroUsd: settlement.costMicroUsd },
    ],
    events: [
      {
        kind: 'turn.answered',
        turn,
        data: {
          model: answer.model,
          cost: settlement.costMicroUsd,
          spent: spent.settled,
          text: cutText(textOf(answer.content), SHOWN_TEXT),
          calls: proposals.map((call) => ({ id: call.callId, tool: call.tool })),
        },
      },
      ...turnWarnings(run, turn, { tokens: turned.tokens, activeMs }),
      ...costWarnings(spent, turn, settlement.costMicroUsd),
    ],
  });
  await deleteDeltas(trx, ref, turn);
  return turned;
}

async function deleteDeltas(trx: Transaction<Database>, ref: RunRef, turn: number): Promise<void> {
  await trx.deleteFrom('agent_run_text_deltas').where('run_id', '=', ref.run).where('turn', '=', turn).execute();
}

async function settleEnd(trx: Transaction<Database>, ref: RunRef, attemptId: string, end: AttemptEnd, at: Date) {
  const attempt = await attemptOf(trx, ref.run, attemptId);
  await lockRemainders(trx, ref.tenant, ref.run, at);
  switch (end.kind) {
    case 'usage':
      return settle(trx, ref.tenant, attemptId, {
        cost: priceOf(attempt.model, end.usage, attempt.createdAt),
        usage: end.usage,
      });
    case 'reservation':
      return settle(trx, ref.tenant, attemptId, { cost: attempt.reserved, usage: null });
    case 'nothing':
      return settle(trx, ref.tenant, attemptId, { cost: 0, usage: null });
  }
}
