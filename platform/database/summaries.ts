import { sql, type Transaction } from 'kysely';
import type { Usage } from '#domain/conversation.ts';
import type { ModelAnswer } from '#domain/ports/model.ts';
import type { RunRef, SummaryCut } from '#domain/ports/run-store.ts';
import { priceOf } from '#domain/pricing.ts';
import { alarmsOf } from './alarms.ts';
import { costWarnings, turnWarnings } from './budget.ts';
import { type RunChange, record } from './journal.ts';
import { lockAttempt, type Settlement, settle } from './ledger.ts';
import { lockRun, type RunRow } from './run-row.ts';
import { type StoredSummary, stepsBefore } from './steps.ts';
import { cutText, storableText } from './storable.ts';
import { textOf, tokensOf } from './stored-turns.ts';
import type { Database } from './tables.ts';

/** The longest summary that is kept, whatever the model wrote. Characters. */
const LONGEST_SUMMARY = 20_000;

/** What a model made of what is left out; `text` null where it made no summary. */
interface Made {
  readonly text: string | null;
  readonly answer: ModelAnswer;
  readonly attempt: string;
  readonly settlement: Settlement;
}

/**
 * Settles the attempt and stores its summary. One that is none, and a call that failed (`answer` null, settled before),
 * leave out what was to be summed up. The first to shorten the conversation in a turn wins; others only pay.
 */
export async function storeSummary(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
  attemptId: string,
  cut: SummaryCut,
  answer: ModelAnswer | null,
): Promise<void> {
  const made = answer === null ? null : await settled(trx, ref, attemptId, answer);
  const run = await lockRun(trx, ref);
  if (run.closed_at || run.summarised_turn >= turn) return;
  await recordSummary(trx, ref, run, turn, { cut, made });
}

async function settled(trx: Transaction<Database>, ref: RunRef, attemptId: string, answer: ModelAnswer): Promise<Made> {
  const attempt = await lockAttempt(trx, ref.run, attemptId);
  const settlement = await settle(trx, ref.tenant, attempt, {
    cost: priceOf(attempt.model, answer.usage, attempt.createdAt),
    usage: answer.usage,
    answeredBy: storableText(cutText(answer.model, 200)),
    requestId: answer.requestId === null ? null : storableText(cutText(answer.requestId, 200)),
  });
  const said = textOf(answer.content).trim();
  const proposes = answer.content.some((block) => block.type === 'tool_call');
  const text = said === '' || proposes || answer.stop === 'refusal' ? null : cutText(said, LONGEST_SUMMARY);
  return { text, answer, attempt: attemptId, settlement };
}

/** Leaves out everything up to the cut, with or without a summary in its place. The run's row is locked. */
export async function recordSummary(
  trx: Transaction<Database>,
  ref: RunRef,
  run: RunRow,
  turn: number,
  { cut, made }: { readonly cut: SummaryCut; readonly made: Made | null },
): Promise<void> {
  const { earlier, ...place } = cut;
  const alarms = made === null ? [] : await alarmsOf(trx, ref, run, made.settlement.moved);
  const gap = made?.text == null;
  const content: StoredSummary = { ...place, text: made?.text ?? earlier, gap, attempt: made?.attempt ?? null };
  const cost = made?.settlement.costMicroUsd ?? 0;
  const how = gap ? 'dropped' : 'summary';
  await record(trx, ref.tenant, ref.run, {
    run: {
      summarised_through: cut.through,
      summarised_turn: turn,
      // What stands before the thinking so far is not what it was.
      prefix_from: stepsBefore(run) + run.step_seq,
      ...(made === null ? {} : oneMoreCall(made.answer.usage)),
    },
    steps: [
      { kind: 'summary', turn, content, ...(made === null ? {} : { model: made.answer.model, costMicroUsd: cost }) },
    ],
    events: [
      {
        kind: 'context.shortened',
        turn,
        data: {
          how,
          through: cut.through,
          ...(made === null ? {} : { model: made.answer.model, cost, spent: made.settlement.spent.settled }),
        },
      },
      ...(made === null
        ? []
        : [
            ...turnWarnings(run, turn, { tokens: tokensOf(made.answer.usage), activeMs: run.active_ms }),
            ...costWarnings(made.settlement.spent, turn, cost),
            ...alarms,
          ]),
    ],
  });
}

/** One more model call in the run's row. */
export function oneMoreCall(usage: Usage): RunChange {
  return {
    model_calls: sql`model_calls + 1`,
    input_tokens: sql`input_tokens + ${usage.input}`,
    output_tokens: sql`output_tokens + ${usage.output}`,
    cache_read_tokens: sql`cache_read_tokens + ${usage.cacheRead}`,
    cache_write_tokens: sql`cache_write_tokens + ${usage.cacheWrite}`,
  };
}
