import type { Transaction } from 'kysely';
import type { ToolCallBlock, Usage } from '#domain/conversation.ts';
import type { Proposal, RunRef, StoredTurn } from '#domain/ports/run-store.ts';
import { isRunaway } from './alarms.ts';
import { runCost } from './ledger.ts';
import type { StoredMessage, StoredSummary } from './steps.ts';
import type { Database } from './tables.ts';

/** What is stored of a turn; null where nothing is. */
export async function readStored(trx: Transaction<Database>, ref: RunRef, turn: number): Promise<StoredTurn | null> {
  const row = await trx
    .selectFrom('agent_run_steps as s')
    .select(['s.content', 's.cost_micro_usd'])
    .where('s.run_id', '=', ref.run)
    .where('s.turn', '=', turn)
    .where('s.kind', '=', 'model_message')
    .executeTakeFirst();
  if (!row) return null;
  const message = row.content as StoredMessage;
  const attempts = await trx
    .selectFrom('agent_run_costs')
    .select(['attempt_id', 'usage', 'reserved_micro_usd', 'settled_micro_usd'])
    .where('run_id', '=', ref.run)
    .where('turn', '=', turn)
    .execute();
  const own = attempts.find((attempt) => attempt.attempt_id === message.attempt);
  const summary = await summaryOf(trx, ref, turn);
  const run = await trx
    .selectFrom('agent_runs')
    .select('typical_micro_usd')
    .where('id', '=', ref.run)
    .executeTakeFirstOrThrow();
  const runaway =
    run.typical_micro_usd !== null && isRunaway(run.typical_micro_usd, (await runCost(trx, ref.run)).settled);
  return {
    runaway,
    stop: message.stop,
    proposals: proposalsOf(message.content),
    costMicroUsd: (row.cost_micro_usd ?? 0) + summary.costMicroUsd,
    tokens: (own?.usage ? tokensOf(own.usage) : 0) + summary.tokens,
    summaries: summary.summaries,
    // Whichever attempt of the turn it was: the provider bills above what was reserved.
    overage: attempts.some((attempt) => (attempt.settled_micro_usd ?? 0) > attempt.reserved_micro_usd),
  };
}

/** What the summary made for a turn has cost; nothing where a model was asked for none. */
export async function summaryOf(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
): Promise<Pick<StoredTurn, 'costMicroUsd' | 'tokens' | 'summaries' | 'overage'>> {
  const none = { costMicroUsd: 0, tokens: 0, summaries: 0, overage: false };
  const step = await trx
    .selectFrom('agent_run_steps')
    .select('content')
    .where('run_id', '=', ref.run)
    .where('turn', '=', turn)
    .where('kind', '=', 'summary')
    .executeTakeFirst();
  const attempt = (step?.content as StoredSummary | undefined)?.attempt ?? null;
  if (attempt === null) return none;
  const cost = await trx
    .selectFrom('agent_run_costs')
    .select(['usage', 'reserved_micro_usd', 'settled_micro_usd'])
    .where('attempt_id', '=', attempt)
    .executeTakeFirst();
  if (!cost?.usage) return none;
  const settled = cost.settled_micro_usd ?? 0;
  const overage = settled > cost.reserved_micro_usd;
  return { costMicroUsd: settled, tokens: tokensOf(cost.usage), summaries: 1, overage };
}

/** The calls of a message, in its order. */
export function proposalsOf(content: StoredMessage['content']): Proposal[] {
  return content
    .filter((block): block is ToolCallBlock => block.type === 'tool_call')
    .map((call) => ({
      callId: call.callId,
      providerId: call.providerId,
      tool: call.tool,
      argsJson: call.args === null ? null : JSON.stringify(call.args),
      malformed: call.malformed ?? null,
    }));
}

/** The text of a message. */
export function textOf(content: StoredMessage['content']): string {
  return content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
}

/** Tokens as a run's limit counts them. Reasoning is within the output. */
export function tokensOf(usage: Usage): number {
  return usage.input + usage.output + usage.cacheRead + usage.cacheWrite;
}
