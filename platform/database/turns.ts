import type { Kysely, Transaction } from 'kysely';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { ModelAnswer } from '#domain/ports/model.ts';
import type { AttemptEnd, RunRef, StoredTurn, TurnStore } from '#domain/ports/run-store.ts';
import { priceOf } from '#domain/pricing.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { alarmsOf, isRunaway } from './alarms.ts';
import { costWarnings, turnWarnings } from './budget.ts';
import { record } from './journal.ts';
import { lockAttempt, ProductMoved, type Settlement, settle } from './ledger.ts';
import type { Notifier } from './notify.ts';
import { deleteDeltas, type OpenTurnParts, openTurn } from './open-turn.ts';
import { AgentVersions, lockRun } from './run-row.ts';
import type { StoredMessage } from './steps.ts';
import { cutText, storableText } from './storable.ts';
import { proposalsOf, readStored, summaryOf, textOf, tokensOf } from './stored-turns.ts';
import { oneMoreCall, storeSummary } from './summaries.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** So often a turn is opened anew because its conversation was changed meanwhile by another attempt. */
const TRIES = 5;
/** Characters of an answer's text in its event; the whole of it stands in the step. */
const SHOWN_TEXT = 4_000;

export interface TurnStoreDeps {
  readonly db: Kysely<Database>;
  readonly grants: RunGrantVerifier;
  readonly notifier: Pick<Notifier, 'wake'>;
  readonly now?: () => Date;
  /** Attack suites pass a defective one; product mains never do. */
  readonly ledger?: NonNullable<OpenTurnParts['ledger']>;
}

/** Turns in Postgres. */
export function createTurnStore(deps: TurnStoreDeps): TurnStore {
  const versions = new AgentVersions();
  const now = deps.now ?? (() => new Date());
  /** Turns that text was streamed for here. What others streamed is gone: an attempt that follows takes it away first. */
  const streamed = new Set<string>();
  /** One transaction, after which the run's watchers look. */
  async function inTenant<T>(ref: RunRef, work: (trx: Transaction<Database>) => Promise<T>): Promise<T> {
    const result = await withTenant(deps.db, ref.tenant, work);
    deps.notifier.wake(ref.run);
    return result;
  }

  return {
    async openTurn(ref, turn, attempt, estimate, chooser) {
      for (let tries = 0; tries < TRIES; tries += 1) {
        const opened = await inTenant(ref, (trx) =>
          openTurn(trx, { versions, ...deps, now, estimate, chooser: chooser ?? null }, ref, turn, attempt),
        ).catch((error: unknown) => {
          if (error instanceof ProductMoved) return null;
          throw error;
        });
        if (opened) return opened;
      }
      const why = 'Other attempts change its conversation, or other runs what the product affords. Try again.';
      throw new StewardError('UNAVAILABLE', why);
    },

    async storeAnswer(ref, turn, attemptId, answer, activeMs) {
      const name = `${ref.run}/${turn}`;
      const stored = await inTenant(ref, async (trx) => {
        if (streamed.has(name)) await deleteDeltas(trx, ref, turn);
        return store(trx, ref, turn, attemptId, answer, activeMs);
      });
      streamed.delete(name);
      return stored;
    },

    storeSummary: (ref, turn, attemptId, cut, answer) =>
      inTenant(ref, (trx) => storeSummary(trx, ref, turn, attemptId, cut, answer)),

    endAttempt: (ref, turn, attemptId, end, failure) =>
      inTenant(ref, async (trx) => {
        const { model, settlement } = await settleEnd(trx, ref, attemptId, end, failure.code);
        const { costMicroUsd, first, spent, moved } = settlement;
        const run = await lockRun(trx, ref);
        const alarms = await alarmsOf(trx, ref, run, moved);
        if (first && !run.closed_at) {
          const failed = { ...failure, model, message: cutText(failure.message, 2_000), cost: costMicroUsd };
          await record(trx, ref.tenant, ref.run, {
            events: [
              { kind: 'turn.failed', turn, data: failed },
              ...costWarnings(spent, turn, costMicroUsd),
              ...alarms,
            ],
          });
        }
        return costMicroUsd;
      }).finally(() => streamed.delete(`${ref.run}/${turn}`)),

    addText: async (ref, turn, attempt, start, text) => {
      streamed.add(`${ref.run}/${turn}`);
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

async function store(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
  attemptId: string,
  answer: ModelAnswer,
  activeMs: number,
): Promise<StoredTurn> {
  const attempt = await lockAttempt(trx, ref.run, attemptId);
  const settlement = await settle(trx, ref.tenant, attempt, {
    cost: priceOf(attempt.model, answer.usage, attempt.createdAt),
    usage: answer.usage,
    answeredBy: storableText(cutText(answer.model, 200)),
    requestId: answer.requestId === null ? null : storableText(cutText(answer.requestId, 200)),
  });
  const run = await lockRun(trx, ref);
  const alarms = await alarmsOf(trx, ref, run, settlement.moved);
  const already = run.turns >= turn ? await readStored(trx, ref, turn) : null;
  if (already) return already;

  const proposals = proposalsOf(answer.content);
  const tokens = tokensOf(answer.usage);
  const summary = run.summarised_turn === turn ? await summaryOf(trx, ref, turn) : null;
  const turned: StoredTurn = {
    stop: answer.stop,
    proposals,
    costMicroUsd: settlement.costMicroUsd + (summary?.costMicroUsd ?? 0),
    tokens: tokens + (summary?.tokens ?? 0),
    summaries: summary?.summaries ?? 0,
    overage: settlement.overage || (summary?.overage ?? false),
    runaway: isRunaway(run.typical_micro_usd, settlement.spent.settled),
  };
  // Only its cost counts any more: a closed run never changes.
  if (run.closed_at) return turned;

  const message: StoredMessage = { content: answer.content, stop: answer.stop, attempt: attemptId };
  const { spent } = settlement;
  await record(trx, ref.tenant, ref.run, {
    run: {
      turns: turn,
      active_ms: Math.round(activeMs),
      ...oneMoreCall(answer.usage),
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
      ...turnWarnings(run, turn, { tokens, activeMs }),
      ...costWarnings(spent, turn, settlement.costMicroUsd),
      ...alarms,
    ],
  });
  return turned;
}

async function settleEnd(
  trx: Transaction<Database>,
  ref: RunRef,
  attemptId: string,
  end: AttemptEnd,
  failure: ErrorCode,
): Promise<{ readonly model: string; readonly settlement: Settlement }> {
  const attempt = await lockAttempt(trx, ref.run, attemptId);
  const usage = end.kind === 'usage' ? end.usage : null;
  const cost =
    usage !== null
      ? priceOf(attempt.model, usage, attempt.createdAt)
      : end.kind === 'reservation'
        ? attempt.reserved
        : 0;
  return { model: attempt.model, settlement: await settle(trx, ref.tenant, attempt, { cost, usage, failure }) };
}
