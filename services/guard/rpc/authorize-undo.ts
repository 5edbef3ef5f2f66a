import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { type Selectable, sql, type Transaction } from 'kysely';
import type { ActionRecord } from '#domain/action-record.ts';
import { StewardError } from '#domain/errors.ts';
import { parseCallId, undoKeyOf } from '#domain/ids.ts';
import type { AuthorizeUndoRequest, AuthorizeUndoResponseSchema } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database, InvocationsTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { canonicalBytes, parseActionRecord } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import type { VerifiedRunGrant } from '#platform/identity/grants.ts';
import type { GuardDeps } from '../deps.ts';
import { assertNotStopped, lockGrantedRun, type RunRow } from '../runs.ts';

type CallRow = Selectable<InvocationsTable>;

/**
 * The last look before an effect is undone. Who asked for it is not the worker's to say: run-api, which alone may,
 * wrote it down. Grants one attempt of the effect's one undo, in one transaction.
 */
export async function authorizeUndo(
  _ctx: CallContext,
  deps: GuardDeps,
  request: AuthorizeUndoRequest,
): Promise<MessageInitShape<typeof AuthorizeUndoResponseSchema>> {
  const grant = await deps.runGrants.verify(request.runGrant);
  const { undoId, callId } = request;
  const nothing = (): StewardError =>
    new StewardError('NOT_FOUND', `Run ${grant.run} has no undo ${undoId.slice(0, 100)} of ${callId.slice(0, 100)}.`);
  if (parseCallId(callId) === null) throw nothing();
  const current = await currentHash(deps, grant, callId);
  return await deps.withSwitches(grant.tenant, async (trx) => {
    const run = await lockGrantedRun(trx, grant);
    const step = await trx
      .selectFrom('agent_run_undo_steps')
      .selectAll()
      .where('undo_id', '=', undoId)
      .where('call_id', '=', callId)
      .where('run_id', '=', run.id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!step) throw nothing();
    if (step.state !== 'pending') {
      throw new StewardError('WRONG_STATE', `The undo of call ${callId} has ended: ${step.state}.`, {
        details: { state: step.state },
      });
    }
    assertClosed(run);
    const call = await trx
      .selectFrom('agent_run_tool_invocations')
      .selectAll()
      .where('run_id', '=', run.id)
      .where('call_id', '=', callId)
      .executeTakeFirst();
    if (!call) throw nothing();
    const record = undoOf(call, run);
    assertNotStopped(run, { tool: record.tool, effect: true });
    await assertUnchanged(deps, trx, { run, grant, record, current });
    const bytes = canonicalBytes(record);
    const digest = digestOf(bytes);
    const attempt = step.attempts + 1;
    await trx
      .updateTable('agent_run_undo_steps')
      .set({ attempts: attempt, digest, authorized_at: sql<Date>`clock_timestamp()` })
      .where('undo_id', '=', undoId)
      .where('call_id', '=', callId)
      .execute();
    const { tenant, catalog, tool, key } = record;
    const execution = await deps.executionGrants.sign({
      tenant,
      run: run.id,
      call: callId,
      key,
      digest,
      tool,
      attempt,
      catalog,
    });
    await audit(trx, tenant, {
      actor: run.acting_user,
      action: 'undo.authorized',
      run: run.id,
      call: callId,
      tool,
      digest,
      grants: { execution: execution.id },
      data: { undo: undoId, attempt, catalog },
    });
    return {
      actionRecord: bytes,
      catalog,
      executionGrants: [execution.token],
      expiresAt: timestampFromDate(execution.expiresAt),
      attempt,
    };
  });
}

/** Asked before the transaction: nothing goes over the network inside one. */
async function currentHash(deps: GuardDeps, grant: VerifiedRunGrant, callId: string): Promise<string | null> {
  const call = await withTenant(deps.db, grant.tenant, (trx) =>
    trx
      .selectFrom('agent_run_tool_invocations')
      .select(['catalog', 'tool'])
      .where('run_id', '=', grant.run)
      .where('call_id', '=', callId)
      .executeTakeFirst(),
  );
  return call?.catalog ? deps.catalogs.currentHash(call.catalog, call.tool) : null;
}

function assertClosed(run: RunRow): void {
  if (run.closed_at !== null) return;
  throw new StewardError('WRONG_STATE', `Run ${run.id} is not closed: what it does may still change.`, {
    details: { status: run.status },
  });
}

/**
 * The one action record of a call's undo: made of the record that was carried out, and always the same, so that the
 * undo's key never meets another digest.
 */
function undoOf(call: CallRow, run: RunRow): ActionRecord {
  const { call_id: id, action_record: bytes } = call;
  if (call.state !== 'done' || !call.undoable) {
    const why = call.state === 'done' ? 'has no undo' : `has taken no effect that is known: ${call.state}`;
    throw new StewardError('WRONG_STATE', `Call ${id} ${why}.`, { details: { state: call.state } });
  }
  if (bytes === null || digestOf(bytes) !== call.digest) {
    throw new StewardError('DIGEST_MISMATCH', `Call ${id} is not what was carried out: its record is another one.`);
  }
  const done = parseActionRecord(bytes);
  const own = done.tenant === run.tenant && done.run === run.id && done.call === id && done.user === run.acting_user;
  if (!own || done.key !== call.key || done.catalog !== call.catalog || done.tool !== call.tool) {
    throw new StewardError('DIGEST_MISMATCH', `Call ${id} is not what was carried out: its record names another.`);
  }
  return { ...done, kind: 'undo', previewHash: null, key: undoKeyOf(run.id, id), undoOf: done.key };
}

async function assertUnchanged(
  deps: GuardDeps,
  trx: Transaction<Database>,
  {
    run,
    grant,
    record,
    current,
  }: { run: RunRow; grant: VerifiedRunGrant; record: ActionRecord; current: string | null },
): Promise<void> {
  const pinned = (await deps.pins.toolsOf(trx, grant, run)).get(record.tool);
  if (pinned?.catalog === record.catalog && pinned.hash === record.toolHash && current === record.toolHash) return;
  throw new StewardError(
    'TOOL_CHANGED',
    `${record.tool} has changed since, or is no longer there: it may not know any more how to undo what it did.`,
  );
}
