import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Insertable, Selectable, Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { parseCallId } from '#domain/ids.ts';
import type { UndoRunRequest, UndoRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database, UndoStepsTable, UndosTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { RUN_GRANT_DAYS } from '#platform/identity/grants.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { newRunId } from '../run-id.ts';
import { type LockedRun, lockRun, owedOf } from '../run-rows.ts';
import { readUndo, standingsOf } from '../undoing/undos.ts';

const MOST_EFFECTS = 1_000;

interface Asked {
  readonly requestId: string;
  readonly reason: string;
  readonly callIds: readonly string[];
  readonly by: string;
}

/**
 * Writes down what is to be undone and has the undo started, once per request id. What cannot be undone, or is undone
 * already, is said right here; the rest is the undo workflow's.
 */
export async function undoRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: UndoRunRequest,
): Promise<MessageInitShape<typeof UndoRunResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const checks = new Checks();
  checks.runId(request.runId);
  checks.line('request_id', request.requestId, { min: 1, max: 100 });
  checks.text('reason', request.reason, { max: 500 });
  checks.that(request.callIds.length <= MOST_EFFECTS, 'call_ids', `must be at most ${MOST_EFFECTS}`);
  const calls = request.callIds.every((id) => parseCallId(id) !== null);
  checks.that(calls, 'call_ids', 'must be ids of calls, such as 2.0');
  checks.done();
  const callIds = [...new Set(request.callIds)].toSorted();
  const asked: Asked = { requestId: request.requestId, reason: request.reason, callIds, by: subject };
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const run = await lockRun(trx, ctx.principal, request.runId);
    const made = await madeBefore(trx, run.id, asked);
    const { undo, outbox } = made ?? (await begin(trx, run, asked));
    return { outbox, response: { undo: await readUndo(trx, undo), repeated: made !== null } };
  });
  deps.notifier.wake(request.runId);
  await deps.deliveries.send(tenant, done.outbox);
  return done.response;
}

interface Begun {
  readonly undo: Selectable<UndosTable>;
  /** What is to be delivered. */
  readonly outbox: number[];
}

/** The undo of this request id. Throws REQUEST_ID_REUSED where it was another one. */
async function madeBefore(trx: Transaction<Database>, run: string, asked: Asked): Promise<Begun | null> {
  const undo = await trx
    .selectFrom('agent_run_undos')
    .selectAll()
    .where('requested_by', '=', asked.by)
    .where('request_id', '=', asked.requestId)
    .executeTakeFirst();
  if (undo === undefined) return null;
  const same = undo.call_ids.join() === asked.callIds.join() && undo.reason === asked.reason;
  if (undo.run_id === run && same) return { undo, outbox: await owedOf(trx, run) };
  throw new StewardError(
    'REQUEST_ID_REUSED',
    `Request id ${asked.requestId} has asked for another undo before. Take a new id for a new undo.`,
  );
}

async function begin(trx: Transaction<Database>, run: LockedRun, asked: Asked): Promise<Begun> {
  if (run.closed_at === null) {
    throw new StewardError(
      'WRONG_STATE',
      `Run ${run.id} is ${run.status}: only a closed run can be undone. Let it end, or cancel it first.`,
      { details: { status: run.status } },
    );
  }
  if (Date.now() - run.created_at.getTime() > (RUN_GRANT_DAYS - 1) * 86_400_000) {
    throw new StewardError(
      'WRONG_STATE',
      `Run ${run.id} began ${RUN_GRANT_DAYS} days ago or more: its grant, by which catalogs would know it, is over. ` +
        'Take its effects back by hand: steward run get shows them.',
    );
  }
  const steps = await stepsOf(trx, run.id, asked.callIds);
  const { tenant } = run;
  const id = newRunId();
  const undo = await trx
    .insertInto('agent_run_undos')
    .values({
      tenant,
      id,
      run_id: run.id,
      request_id: asked.requestId,
      call_ids: [...asked.callIds],
      reason: asked.reason,
      requested_by: asked.by,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  if (steps.length > 0) {
    const own = { tenant, undo_id: id, run_id: run.id };
    const rows = steps.map((step, ordinal) => ({ ...own, ...step, ordinal }));
    await trx.insertInto('agent_run_undo_steps').values(rows).execute();
  }
  const calls = steps.filter((step) => step.state === 'pending').map((step) => step.call_id);
  const { by, reason } = asked;
  await audit(trx, tenant, { actor: by, action: 'run.undo', run: run.id, data: { undo: id, reason, calls } });
  const data = { undo: id, by, reason, calls: calls.length };
  await record(trx, tenant, run.id, { events: [{ kind: 'undo.requested', data }] });
  if (calls.length === 0) return { undo, outbox: [] };
  return { undo, outbox: [await enqueue(trx, tenant, { kind: 'undo', runId: run.id, payload: { undo: id, calls } })] };
}

type Step = Pick<
  Insertable<UndoStepsTable>,
  'call_id' | 'tool' | 'state' | 'error_code' | 'error_message' | 'ended_at'
>;

/** The effects that are asked for, the one that was completed last first. Throws NOT_FOUND where one is no effect. */
async function stepsOf(trx: Transaction<Database>, run: string, callIds: readonly string[]): Promise<Step[]> {
  const chosen = await trx
    .selectFrom('agent_run_tool_invocations')
    .select(['call_id', 'tool', 'state', 'undoable', 'ended_at', 'turn', 'ordinal'])
    .where('run_id', '=', run)
    .where('has_effect', '=', true)
    .where('state', 'in', ['done', 'outcome_unknown'])
    .$if(callIds.length > 0, (query) => query.where('call_id', 'in', [...callIds]))
    // What is left is chosen first, so that asking again goes on where so many were undone.
    .orderBy((eb) =>
      eb.exists(
        eb
          .selectFrom('agent_run_undo_steps as s')
          .select('s.call_id')
          .whereRef('s.run_id', '=', 'agent_run_tool_invocations.run_id')
          .whereRef('s.call_id', '=', 'agent_run_tool_invocations.call_id')
          .where('s.state', '=', 'undone'),
      ),
    )
    .orderBy('ended_at', (order) => order.desc().nullsFirst())
    .orderBy('turn', 'desc')
    .orderBy('ordinal', 'desc')
    .limit(MOST_EFFECTS)
    .execute();
  const endOf = ({ ended_at: at }: (typeof chosen)[number]): number => at?.getTime() ?? Number.POSITIVE_INFINITY;
  const effects = chosen.toSorted(
    (one, other) => compare(endOf(other), endOf(one)) || other.turn - one.turn || other.ordinal - one.ordinal,
  );
  const found = new Set(effects.map((effect) => effect.call_id));
  const missing = callIds.find((id) => !found.has(id));
  if (missing !== undefined) {
    throw new StewardError(
      'NOT_FOUND',
      `Call ${missing} of run ${run} has changed nothing. Its effects: steward run get.`,
    );
  }
  const standings = await standingsOf(trx, run);
  const now = new Date();
  return effects.map((effect): Step => {
    const { call_id, tool } = effect;
    const ended = (state: 'undone' | 'cannot', code: string | null, message: string): Step => ({
      call_id,
      tool,
      state,
      error_code: code,
      error_message: message,
      ended_at: now,
    });
    const standing = standings.get(call_id);
    if (standing?.state === 'undone') return ended('undone', null, `was undone before, for ${standing.requested_by}`);
    if (effect.state === 'outcome_unknown') {
      return ended('cannot', 'OUTCOME_UNKNOWN', `It is not known whether ${tool} took effect. Look first.`);
    }
    if (!effect.undoable) return ended('cannot', 'WRONG_STATE', `${tool} cannot be undone.`);
    return { call_id, tool, state: 'pending', error_code: null, error_message: null, ended_at: null };
  });
}

const compare = (one: number, other: number): number => (one === other ? 0 : one - other);
