import { type Kysely, sql, type Transaction } from 'kysely';
import type { ToolCallBlock, Usage } from '#domain/conversation.ts';
import { StewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelRequest } from '#domain/ports/model.ts';
import type { AttemptEnd, OpenedTurn, Proposal, RunRef, StoredTurn, TurnStore } from '#domain/ports/run-store.ts';
import { affordableOutput, priceOf, worstCase } from '#domain/pricing.ts';
import { crossedWarnings } from '#domain/run.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { loadConversation, type StoredMessage } from './conversation.ts';
import { type NewEvent, record } from './journal.ts';
import { lockRemainders, reserve, runCost, settle } from './ledger.ts';
import type { Notifier } from './notify.ts';
import { AgentVersions, modelToolsOf, readRun, type RunRow, verifyRow } from './run-row.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** A model call that could write fewer tokens than this is not worth its money: the budget counts as spent. */
const LEAST_OUTPUT = 256;
/** Failed attempts of one turn before the run gives its model up. */
export const TURN_ATTEMPTS = 10;

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
  const inTenant = <T>(ref: RunRef, work: (trx: Transaction<Database>) => Promise<T>): Promise<T> =>
    withTenant(deps.db, ref.tenant, work);

  return {
    async openTurn(ref, turn, attempt, estimate): Promise<OpenedTurn> {
      const opened = await inTenant(ref, async (trx): Promise<OpenedTurn> => {
        const run = await readRun(trx, ref);
        await verifyRow(deps.grants, ref, run.run_grant);
        const stored = await readStored(trx, ref, turn);
        if (stored) return { kind: 'stored', turn: stored, runGrant: run.run_grant };
        if (run.closed_at) return { kind: 'closed', status: run.status };
        const failed = await failedAttempts(trx, ref, turn);
        if (failed >= TURN_ATTEMPTS) return { kind: 'gave_up', attempts: failed };

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
        const at = now();
        const input = estimate(request);
        const remainders = await lockRemainders(trx, ref.tenant, ref.run, at);
        const tightest = remainders[0].micro <= remainders[1].micro ? remainders[0] : remainders[1];
        const affordable = affordableOutput(run.model, input, tightest.micro, at);
        const output = Math.min(run.max_output_tokens, affordable);
        if (output < Math.min(LEAST_OUTPUT, run.max_output_tokens)) {
          const need = worstCase(run.model, input, Math.min(LEAST_OUTPUT, run.max_output_tokens), at) - tightest.micro;
          await exhausted(trx, ref, run, tightest.level, need, at);
          return { kind: 'budget', level: tightest.level, needMicroUsd: need };
        }
        const reserved = worstCase(run.model, input, output, at);
        await reserve(trx, ref.tenant, ref.run, remainders[1].account, {
          id: attempt.id,
          turn,
          model: run.model,
          reserve: reserved,
          deadlineAt: attempt.deadlineAt,
        });
        await record(trx, ref.tenant, ref.run, {
          events: [
            ...(run.turns === 0 && run.status === 'pending'
              ? [{ kind: 'run.started', data: { model: run.model } } as const]
              : []),
            { kind: 'turn.started', turn, data: { model: run.model, attempt: attempt.number, reserved } },
          ],
        });
        if (run.status === 'pending' || run.status === 'budget_exceeded') {
          await trx
            .updateTable('agent_runs')
            .set({ status: 'running', waits_until: null })
            .where('id', '=', ref.run)
            .execute();
        }
        return {
          kind: 'reserved',
          request: { ...request, maxOutputTokens: output },
          reservedMicroUsd: reserved,
          runGrant: run.run_grant,
        };
      });
      deps.notifier.wake(ref.run);
      return opened;
    },

    async storeAnswer(ref, turn, attemptId, answer, activeMs) {
      const stored = await inTenant(ref, (trx) => store(trx, ref, turn, attemptId, answer, activeMs, now()));
      deps.notifier.wake(ref.run);
      return stored;
    },

    async endAttempt(ref, turn, attemptId, end, failure) {
      const cost = await inTenant(ref, async (trx) => {
        const { costMicroUsd } = await settleEnd(trx, ref, attemptId, end, now());
        await record(trx, ref.tenant, ref.run, {
          events: [{ kind: 'turn.failed', turn, data: { ...failure, cost: costMicroUsd } }],
        });
        return costMicroUsd;
      });
      deps.notifier.wake(ref.run);
      return cost;
    },

    async addText(ref, turn, attempt, start, text) {
      await inTenant(ref, (trx) =>
        trx
          .insertInto('agent_run_text_deltas')
          .values({ tenant: ref.tenant, run_id: ref.run, turn, attempt, start, text })
          .onConflict((conflict) => conflict.doNothing())
          .execute(),
      );
      deps.notifier.wake(ref.run);
    },
  };
}

async function failedAttempts(trx: Transaction<Database>, ref: RunRef, turn: number): Promise<number> {
  const row = await trx
    .selectFrom('agent_run_costs')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('run_id', '=', ref.run)
    .where('turn', '=', turn)
    .where('state', '!=', 'reserved')
    .executeTakeFirstOrThrow();
  return Number(row.n);
}

async function exhausted(
  trx: Transaction<Database>,
  ref: RunRef,
  run: RunRow,
  level: 'run' | 'tenant_month',
  need: number,
  at: Date,
): Promise<void> {
  if (run.status === 'budget_exceeded') return;
  const until = at.getTime() + run.waits.budgetMs;
  await trx
    .updateTable('agent_runs')
    .set({ status: 'budget_exceeded', waits_until: new Date(until) })
    .where('id', '=', ref.run)
    .execute();
  await record(trx, ref.tenant, ref.run, { events: [{ kind: 'budget.exhausted', data: { level, need, until } }] });
}

/** Message, raw usage and settlement in one transaction; the first stored message of a turn wins. */
async function store(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
  attemptId: string,
  answer: ModelAnswer,
  activeMs: number,
  at: Date,
): Promise<StoredTurn> {
  const priced = await trx
    .selectFrom('agent_run_costs')
    .select('model')
    .where('attempt_id', '=', attemptId)
    .executeTakeFirst();
  if (!priced) throw new StewardError('INTERNAL', `Attempt ${attemptId} was never reserved for.`);
  const cost = priceOf(priced.model, answer.usage, at);
  await lockRemainders(trx, ref.tenant, ref.run, at);
  const settlement = await settle(trx, ref.tenant, attemptId, {
    cost,
    usage: answer.usage,
    answeredBy: answer.model,
    requestId: answer.requestId,
  });
  const run = await trx
    .selectFrom('agent_runs')
    .select(['model_calls', 'tool_calls', 'input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens'])
    .select(['limits', 'active_ms'])
    .where('id', '=', ref.run)
    .forUpdate()
    .executeTakeFirstOrThrow();
  const already = await readStored(trx, ref, turn);
  if (already) return already;

  const proposals = proposalsOf(answer.content);
  const message: StoredMessage = { content: answer.content, stop: answer.stop };
  const spent = await runCost(trx, ref.run);
  await trx
    .updateTable('agent_runs')
    .set({
      turns: turn,
      active_ms: Math.round(activeMs),
      model_calls: sql`model_calls + 1`,
      input_tokens: sql`input_tokens + ${answer.usage.input}`,
      output_tokens: sql`output_tokens + ${answer.usage.output}`,
      cache_read_tokens: sql`cache_read_tokens + ${answer.usage.cacheRead}`,
      cache_write_tokens: sql`cache_write_tokens + ${answer.usage.cacheWrite}`,
    })
    .where('id', '=', ref.run)
    .execute();
  const tokensBefore = run.input_tokens + run.output_tokens + run.cache_read_tokens + run.cache_write_tokens;
  const before = { modelCalls: run.model_calls, toolCalls: run.tool_calls, tokens: tokensBefore, activeMs: run.active_ms };
  const after = { ...before, modelCalls: run.model_calls + 1, tokens: tokensBefore + tokensOf(answer.usage), activeMs };
  const warnings: NewEvent[] = crossedWarnings(
    { ...before, spent: spent.settled - settlement.costMicroUsd },
    { ...after, spent: spent.settled },
    run.limits,
    spent.limit,
  ).map((data) => ({ kind: 'limit.warning', turn, data }));
  await record(trx, ref.tenant, ref.run, {
    steps: [{ kind: 'model_message', turn, content: message, model: answer.model, costMicroUsd: settlement.costMicroUsd }],
    events: [
      {
        kind: 'turn.answered',
        turn,
        data: {
          model: answer.model,
          cost: settlement.costMicroUsd,
          spent: spent.settled,
          text: textOf(message).slice(0, 4_000),
          calls: proposals.map((call) => ({ id: call.callId, tool: call.tool })),
        },
      },
      ...warnings,
    ],
  });
  await trx.deleteFrom('agent_run_text_deltas').where('run_id', '=', ref.run).where('turn', '=', turn).execute();
  return {
    stop: answer.stop,
    proposals,
    costMicroUsd: settlement.costMicroUsd,
    tokens: tokensOf(answer.usage),
    overage: settlement.overage,
  };
}

async function settleEnd(trx: Transaction<Database>, ref: RunRef, attemptId: string, end: AttemptEnd, at: Date) {
  await lockRemainders(trx, ref.tenant, ref.run, at);
  const attempt = await trx
    .selectFrom('agent_run_costs')
    .select(['model', 'reserved_micro_usd'])
    .where('attempt_id', '=', attemptId)
    .executeTakeFirstOrThrow();
  switch (end.kind) {
    case 'usage':
      return settle(trx, ref.tenant, attemptId, { cost: priceOf(attempt.model, end.usage, at), usage: end.usage });
    case 'reservation':
      return settle(trx, ref.tenant, attemptId, { cost: attempt.reserved_micro_usd, usage: null });
    case 'nothing':
      return settle(trx, ref.tenant, attemptId, { cost: 0, usage: null });
  }
}

async function readStored(trx: Transaction<Database>, ref: RunRef, turn: number): Promise<StoredTurn | null> {
  const row = await trx
    .selectFrom('agent_run_steps as s')
    .select(['s.content', 's.cost_micro_usd'])
    .where('s.run_id', '=', ref.run)
    .where('s.turn', '=', turn)
    .where('s.kind', '=', 'model_message')
    .executeTakeFirst();
  if (!row) return null;
  const message = row.content as StoredMessage;
  const attempt = await trx
    .selectFrom('agent_run_costs')
    .select(['usage', 'reserved_micro_usd', 'settled_micro_usd'])
    .where('run_id', '=', ref.run)
    .where('turn', '=', turn)
    .where('answered_by', 'is not', null)
    .orderBy('ended_at')
    .executeTakeFirst();
  return {
    stop: message.stop,
    proposals: proposalsOf(message.content),
    costMicroUsd: row.cost_micro_usd ?? 0,
    tokens: attempt?.usage ? tokensOf(attempt.usage) : 0,
    overage: (attempt?.settled_micro_usd ?? 0) > (attempt?.reserved_micro_usd ?? 0),
  };
}

function proposalsOf(content: StoredMessage['content']): Proposal[] {
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

function textOf(message: StoredMessage): string {
  return message.content
    .filter((block) => block.type === 'text')
    .map((block) => block.text)
    .join('');
}

function tokensOf(usage: Usage): number {
  return usage.input + usage.output + usage.cacheRead + usage.cacheWrite + usage.reasoning;
}
