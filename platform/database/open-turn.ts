import type { Transaction } from 'kysely';
import { marksOf } from '#domain/context.ts';
import { MODEL_OUTAGES } from '#domain/errors.ts';
import { readStops, type Stop, stopOfRun } from '#domain/kill-switch.ts';
import type { ModelChooser, ModelRequest, ModelRoute } from '#domain/ports/model.ts';
import type { OpenedTurn, RunRef, SummaryCut, TurnAttempt } from '#domain/ports/run-store.ts';
import { affordableOutput, worstCase } from '#domain/pricing.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { lockRemainders, type Remainder, type Remainders, type UserRate } from './accounts.ts';
import { throttled } from './alarms.ts';
import { exhausted } from './budget.ts';
import { loadConversation } from './conversation.ts';
import { fitConversation } from './fit.ts';
import { type RunChange, record } from './journal.ts';
import { reserve } from './ledger.ts';
import { type SentMessage, stepsOfMessages, unreadMessages, withMessages } from './messages.ts';
import { type Switch, switchedTo, switchOf } from './model-switch.ts';
import { gatherPart } from './product.ts';
import { type AgentVersions, lockRun, modelToolsOf, notFound, RUN_COLUMNS, type RunRow, verifyRow } from './run-row.ts';
import { stepsBefore } from './steps.ts';
import { readStored } from './stored-turns.ts';
import { recordSummary } from './summaries.ts';
import { stopsOf } from './switches.ts';
import type { Database } from './tables.ts';

/** A model call that could write fewer tokens than this is not worth its money: the budget counts as spent. */
const LEAST_OUTPUT = 256;
const MINUTE_MS = 60_000;
/** A user's model calls in a minute wait from so many times the tenant's 99th percentile on, and never below so many. */
const THROTTLE_TIMES = 5;
const LEAST_THROTTLED = 60;
/** Failed attempts of one turn before the run gives its model up. */
export const TURN_ATTEMPTS = 10;

export interface OpenTurnParts {
  readonly versions: AgentVersions;
  readonly grants: RunGrantVerifier;
  readonly now: () => Date;
  readonly estimate: (request: ModelRequest) => number;
  /** Null: the run's own model is asked. */
  readonly chooser: ModelChooser | null;
  /** What is reserved with; attack suites pass a defective one, product mains never do. */
  readonly ledger?: Pick<typeof LEDGER, 'lockRemainders' | 'reserve'>;
}

const LEDGER = { lockRemainders, reserve };

/**
 * Opens a turn for one attempt in the caller's transaction, which reads the conversation before it locks anything. Null
 * where another attempt has changed the conversation meanwhile: nothing was written, and it is to be opened anew.
 */
export async function openTurn(
  trx: Transaction<Database>,
  parts: OpenTurnParts,
  ref: RunRef,
  turn: number,
  attempt: TurnAttempt,
): Promise<OpenedTurn | null> {
  const { run, earlier, stops } = await readForTurn(trx, ref, turn);
  await verifyRow(parts.grants, ref, run);
  const stored = run.turns >= turn ? await readStored(trx, ref, turn) : null;
  if (stored) return { kind: 'stored', turn: stored, runGrant: run.run_grant };
  const stopped = whyNotNow(run) ?? whyStopped(stops);
  if (stopped) return stopped;
  if (earlier.failed >= TURN_ATTEMPTS) return { kind: 'gave_up', attempts: earlier.failed };

  const version = await parts.versions.read(trx, run);
  // What the turn's first attempt has read is the turn's: the later ones are shown the same and no more.
  const said = earlier.any ? [] : await unreadMessages(trx, run);
  const route: ModelRoute = {
    primary: run.model,
    fallback: version.definition.fallback ?? null,
    errors: earlier.errors,
  };
  const choice = parts.chooser?.choose(route) ?? null;
  const model = choice?.model ?? run.model;
  const prompt = { system: version.definition.instructions, tools: modelToolsOf(version, run) };
  const call = { ...prompt, model, maxOutputTokens: run.max_output_tokens, turn, runId: ref.run };
  const fitted = fitConversation(await loadConversation(trx, run), run, {
    marks: marksOf(run.context_tokens, run.max_output_tokens),
    tokensOf: (messages) => parts.estimate({ ...call, messages }),
    withSaid: (messages) => withMessages(messages, said),
    mayShorten: run.summarised_turn < turn,
    mayAsk: mayAskForSummary(run, turn),
    maxOutputTokens: run.max_output_tokens,
  });
  if (fitted.kind === 'too_long') return { kind: 'too_long', tokens: fitted.tokens, most: run.context_tokens };
  if (fitted.kind === 'drop') return drop(trx, ref, run, turn, fitted.cut);
  const asking = fitted.kind === 'summarise';
  if (asking && earlier.failedSummaries >= SUMMARY_ATTEMPTS) {
    return drop(trx, ref, run, turn, fitted.cut);
  }
  const request: ModelRequest = {
    ...call,
    messages: fitted.messages,
    ...(asking ? { maxOutputTokens: fitted.output } : {}),
  };
  const input = parts.estimate(request);
  const switched = choice === null || route.fallback === null ? null : await switchOf(trx, request, route, choice);
  const at = parts.now();
  const ledger = parts.ledger ?? LEDGER;
  const remainders = await ledger.lockRemainders(trx, ref.tenant, ref.run, at);
  // What was read above may have changed before the locks were held: another attempt, a cancel, a pause, the end.
  const locked = await lockRun(trx, ref);
  const late = locked.turns >= turn ? await readStored(trx, ref, turn) : null;
  if (late) return { kind: 'stored', turn: late, runGrant: run.run_grant };
  const stoppedLate = whyNotNow(locked);
  if (stoppedLate) return stoppedLate;
  if (locked.step_seq !== run.step_seq) return null;
  if (locked.handles_through !== run.handles_through) return null;
  if (said.length > 0 && (await hasAttempts(trx, ref, turn))) return null;

  const slowed = attempt.unthrottled ? null : throttleOf(remainders.rate, at);
  if (slowed !== null) {
    const { calls, p99 } = remainders.rate;
    await throttled(trx, ref, turn, { account: remainders.user.account, calls, p99, until: slowed });
    return { kind: 'throttled', until: slowed };
  }

  const least = Math.min(LEAST_OUTPUT, request.maxOutputTokens);
  const tightest = await tightestOf(trx, ref, remainders, worstCase(model, input, request.maxOutputTokens, at));
  const output = Math.min(request.maxOutputTokens, affordableOutput(model, input, tightest.micro, at));
  if (output < least) {
    const need = worstCase(model, input, least, at) - tightest.micro;
    await exhausted(trx, ref, locked, tightest, need, at);
    return { kind: 'budget', level: tightest.level, needMicroUsd: need };
  }
  const reserved = worstCase(model, input, output, at);
  await ledger.reserve(trx, ref.tenant, ref.run, remainders, {
    id: attempt.id,
    turn,
    purpose: asking ? 'summary' : 'turn',
    model,
    reserve: reserved,
    at,
    deadlineAt: attempt.deadlineAt,
  });
  const opened = {
    request: { ...request, maxOutputTokens: output },
    reservedMicroUsd: reserved,
    runGrant: run.run_grant,
    route,
  };
  if (asking) {
    await record(trx, ref.tenant, ref.run, { run: { ...goingOn(locked) }, events: switchedTo(turn, switched) });
    return { kind: 'summarise', ...opened, cut: fitted.cut };
  }
  // A retried call replaces its own text.
  if (earlier.any) await deleteDeltas(trx, ref, turn);
  const { handlesThrough } = fitted;
  await begin(trx, ref, locked, { turn, model, attempt: attempt.number, reserved, said, handlesThrough, switched });
  return { kind: 'reserved', ...opened };
}

/** Until when a user who calls models too often waits: the end of the minute; null: no need. */
function throttleOf({ minute, calls, p99 }: UserRate, at: Date): number | null {
  const now = Math.floor(at.getTime() / MINUTE_MS) * MINUTE_MS;
  if (p99 === 0 || minute !== now || calls < Math.max(LEAST_THROTTLED, THROTTLE_TIMES * p99)) return null;
  return now + MINUTE_MS;
}

/** The level that affords least. The product's part is filled up where it is what stands in the way of `want`. */
async function tightestOf(
  trx: Transaction<Database>,
  ref: RunRef,
  { all, product }: Remainders,
  want: number,
): Promise<Remainder> {
  const own = all.filter((one) => one !== product).reduce((least, one) => (one.micro < least.micro ? one : least));
  if (product.micro >= Math.min(want, own.micro)) return own;
  const micro = await gatherPart(trx, product.account, ref.run, Math.min(want, own.micro));
  return micro < own.micro ? { ...product, micro } : own;
}

/** A summary is asked for so often in one turn; then the turn does without. */
const SUMMARY_ATTEMPTS = 3;
/** Turns between two summaries: where they come more often, summing up does not help. */
const SUMMARY_TURNS = 4;

function mayAskForSummary(run: RunRow, turn: number): boolean {
  const soon = run.summarised_turn > 0 && turn - run.summarised_turn < SUMMARY_TURNS;
  // One call for the summary, and one for the turn.
  return !soon && run.model_calls + 2 <= run.limits.modelCalls;
}

/** Leaves out what is old without a summary. The turn is to be opened anew then, as where another attempt came first. */
async function drop(
  trx: Transaction<Database>,
  ref: RunRef,
  seen: RunRow,
  turn: number,
  cut: SummaryCut,
): Promise<null> {
  const run = await lockRun(trx, ref);
  if (!run.closed_at && run.step_seq === seen.step_seq) await recordSummary(trx, ref, run, turn, { cut, made: null });
  return null;
}

/** Why no model call may begin now; null where one may. */
function whyNotNow(run: RunRow): OpenedTurn | null {
  if (run.closed_at) return { kind: 'closed', status: run.status };
  if (run.cancel_requested_by !== null) return { kind: 'cancelled' };
  return run.status === 'paused' || run.paused_by !== null ? { kind: 'paused' } : null;
}

/** As `whyNotNow`, by the kill switches that stand. */
function whyStopped(stops: readonly Stop[]): OpenedTurn | null {
  const stop = stopOfRun(stops);
  return stop && (stop.action === 'pause' ? { kind: 'paused' } : { kind: 'cancelled' });
}

/** The attempts that a turn has had: whether there are any, and how many have failed. */
interface Attempts {
  readonly any: boolean;
  readonly failed: number;
  readonly failedSummaries: number;
  readonly errors: ModelRoute['errors'];
}

/** The run's row with the attempts of a turn, in one statement. */
async function readForTurn(
  trx: Transaction<Database>,
  ref: RunRef,
  turn: number,
): Promise<{ readonly run: RunRow; readonly earlier: Attempts; readonly stops: readonly Stop[] }> {
  const row = await trx
    .selectFrom('agent_runs')
    .leftJoinLateral(
      (eb) =>
        eb
          .selectFrom('agent_run_costs')
          .select((of) => [
            of.fn.countAll<number>().filterWhere('purpose', '=', 'turn').as('all'),
            of.fn
              .countAll<number>()
              .filterWhere('purpose', '=', 'turn')
              .filterWhere('state', '!=', 'reserved')
              .as('failed'),
            of.fn
              .countAll<number>()
              .filterWhere('purpose', '=', 'summary')
              .filterWhere('state', '!=', 'reserved')
              .as('failed_summaries'),
            of.fn.countAll<number>().filterWhere('failure', 'in', MODEL_OUTAGES).as('outages'),
            of.fn
              .countAll<number>()
              .filterWhere('failure', 'in', MODEL_OUTAGES)
              .filterWhere('agent_run_costs.model', '=', of.ref('agent_runs.model'))
              .as('own_outages'),
          ])
          .whereRef('agent_run_costs.run_id', '=', 'agent_runs.id')
          .where('turn', '=', turn)
          .as('attempts'),
      (join) => join.onTrue(),
    )
    .select(RUN_COLUMNS)
    .select(stopsOf().as('stops'))
    .select([
      'attempts.all',
      'attempts.failed',
      'attempts.failed_summaries',
      'attempts.outages',
      'attempts.own_outages',
    ])
    .where('id', '=', ref.run)
    .executeTakeFirst();
  if (!row) throw notFound(ref);
  const { all, failed, failed_summaries: summaries, outages, own_outages: own, stops, ...run } = row;
  const errors = { primary: Number(own), fallback: Number(outages) - Number(own) };
  return {
    run,
    stops: readStops(stops),
    earlier: { any: Number(all) > 0, failed: Number(failed), failedSummaries: Number(summaries), errors },
  };
}

async function hasAttempts(trx: Transaction<Database>, ref: RunRef, turn: number): Promise<boolean> {
  return (await readForTurn(trx, ref, turn)).earlier.any;
}

/** Takes away what watchers were shown of a turn's answer while it was streamed. */
export async function deleteDeltas(trx: Transaction<Database>, ref: RunRef, turn: number): Promise<void> {
  await trx.deleteFrom('agent_run_text_deltas').where('run_id', '=', ref.run).where('turn', '=', turn).execute();
}

async function begin(
  trx: Transaction<Database>,
  ref: RunRef,
  run: RunRow,
  call: {
    readonly turn: number;
    readonly model: string;
    readonly attempt: number;
    readonly reserved: number;
    readonly switched: Switch | null;
    readonly said: readonly SentMessage[];
    /** Up to where long results are left out from now on; null: as before. */
    readonly handlesThrough: number | null;
  },
): Promise<void> {
  const { turn, model, attempt, reserved, said, handlesThrough, switched } = call;
  const first = run.turns === 0 && run.status === 'pending';
  const last = said.at(-1);
  const data = {
    model,
    attempt,
    reserved,
    ...(said.length === 0 ? {} : { messages: said.map((message) => message.number) }),
  };
  await record(trx, ref.tenant, ref.run, {
    steps: stepsOfMessages(turn, said),
    events: [
      ...(first ? [{ kind: 'run.started', data: { model: run.model } } as const] : []),
      ...(handlesThrough === null
        ? []
        : [{ kind: 'context.shortened', turn, data: { how: 'results', through: handlesThrough } } as const]),
      ...switchedTo(turn, switched),
      { kind: 'turn.started', turn, data },
    ],
    run: {
      ...(run.status === 'pending' ? { status: 'running' as const, waits_until: null } : goingOn(run)),
      ...(last === undefined ? {} : { messages_read: last.number }),
      // What stands before the thinking so far is not what it was.
      ...(handlesThrough === null
        ? {}
        : { handles_through: handlesThrough, handles_at: stepsBefore(run) + run.step_seq }),
    },
  });
}

/** A run that waited for budget waits no more. */
function goingOn(run: RunRow): RunChange {
  return run.status === 'budget_exceeded' ? { status: 'running', waits_until: null } : {};
}
