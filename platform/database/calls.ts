import type { Kysely, Transaction } from 'kysely';
import type { ToolResultBlock } from '#domain/conversation.ts';
import { StewardError } from '#domain/errors.ts';
import type { CallEnd, CallStore, OpenedCall, RunRef } from '#domain/ports/run-store.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import type { AuditEntry } from './audit.ts';
import { shownResult } from './conversation.ts';
import { type NewEvent, record } from './journal.ts';
import type { Notifier } from './notify.ts';
import { settleQuantities } from './quantities.ts';
import { verifyRow } from './run-row.ts';
import { cutText, storableJson, storableText } from './storable.ts';
import type { Database, InvocationState } from './tables.ts';
import { withTenant } from './tenant.ts';

export interface CallStoreDeps {
  readonly db: Kysely<Database>;
  readonly grants: RunGrantVerifier;
  readonly notifier: Pick<Notifier, 'wake'>;
}

/** Tool calls in Postgres. */
export function createCallStore(deps: CallStoreDeps): CallStore {
  return {
    async openCall(ref, callId) {
      const row = await withTenant(deps.db, ref.tenant, (trx) =>
        openedCalls(trx, ref).where('i.call_id', '=', callId).executeTakeFirst(),
      );
      if (!row?.catalog || !row.key || !row.digest) {
        throw new StewardError('NOT_FOUND', `Run ${ref.run} has no judged call ${callId}.`);
      }
      await verifyRow(deps.grants, ref, row);
      return toOpened(row);
    },

    async endCall(ref, callId, end) {
      const stored = await withTenant(deps.db, ref.tenant, (trx) => endCall(trx, ref, callId, end));
      deps.notifier.wake(ref.run);
      return stored;
    },

    async markUnknown(ref, callId, message) {
      await withTenant(deps.db, ref.tenant, async (trx) => {
        const call = await trx
          .updateTable('agent_run_tool_invocations')
          .set({
            state: 'outcome_unknown',
            error_code: 'OUTCOME_UNKNOWN',
            error_message: storableText(cutText(message, 500)),
          })
          .where('run_id', '=', ref.run)
          .where('call_id', '=', callId)
          .where('state', 'in', ['judged', 'started'])
          .returning(['tool', 'turn', 'digest', 'policy_set_hash', 'approval_id'])
          .executeTakeFirst();
        if (!call) return;
        await record(trx, ref.tenant, ref.run, {
          events: [{ kind: 'tool.outcome_unknown', turn: call.turn, callId, data: { tool: call.tool, message } }],
          audit: [{ ...auditOf(ref, callId, call), action: 'call.outcome_unknown', data: { message } }],
        });
      });
      deps.notifier.wake(ref.run);
    },
  };
}

/** The calls of a run as `act` and closing need them. */
export function openedCalls(trx: Transaction<Database>, ref: RunRef) {
  return trx
    .selectFrom('agent_run_tool_invocations as i')
    .innerJoin('agent_runs as r', 'r.id', 'i.run_id')
    .select([
      'i.call_id',
      'i.state',
      'i.tool',
      'i.catalog',
      'i.key',
      'i.digest',
      'i.attempts',
      'i.timeout_ms',
      'i.has_effect',
    ])
    .select(['r.run_grant', 'r.closed_at', 'r.cancel_requested_by', 'r.trace_parent'])
    .where('i.run_id', '=', ref.run);
}

export function toOpened(
  row: Awaited<ReturnType<ReturnType<typeof openedCalls>['executeTakeFirstOrThrow']>>,
): OpenedCall {
  return {
    state: row.state,
    tool: row.tool,
    catalog: row.catalog ?? '',
    key: row.key ?? '',
    digest: row.digest ?? '',
    attempts: row.attempts,
    timeoutMs: row.timeout_ms ?? 10_000,
    hasEffect: row.has_effect,
    runGrant: row.run_grant,
    runClosed: row.closed_at !== null,
    cancelRequested: row.cancel_requested_by !== null,
  };
}

/** States of a call that has no end yet. */
const OPEN: readonly InvocationState[] = ['judged', 'started', 'outcome_unknown'];

/** Stores what a call came to and tells the model, once: a call that has an end keeps it. */
async function endCall(trx: Transaction<Database>, ref: RunRef, callId: string, end: CallEnd): Promise<boolean> {
  const done = end.kind === 'done';
  const covers = done ? undefined : end.covers;
  const call = await trx
    .updateTable('agent_run_tool_invocations')
    .set({
      state: end.kind,
      ended_at: new Date(),
      ...(done
        ? {
            result: end.resultJson,
            change: end.change === null ? null : storableJson(end.change),
            undoable: end.undoable,
            error_code: null,
            error_message: null,
          }
        : {
            error_code: storableText(cutText(end.code, 100)),
            error_message: storableText(cutText(end.message, 2_000)),
          }),
    })
    .where('run_id', '=', ref.run)
    .where('call_id', '=', callId)
    .where('state', 'in', OPEN)
    .$if(covers !== undefined, (query) => query.where('attempts', '<=', covers ?? 0))
    .returning([
      'tool',
      'turn',
      'ordinal',
      'provider_id',
      'digest',
      'policy_set_hash',
      'approval_id',
      'has_effect',
      'spends',
    ])
    .executeTakeFirst();
  if (!call) return covers === undefined || !(await isOpen(trx, ref, callId));
  if (call.spends !== null) {
    await settleQuantities(trx, ref.run, callId, done ? (end.change?.quantities ?? {}) : null);
  }
  const content: ToolResultBlock = {
    type: 'tool_result',
    callId,
    providerId: call.provider_id,
    text: done
      ? shownResult(ref.run, callId, end.resultJson)
      : JSON.stringify({ error: { code: end.code, message: cutText(end.message, 2_000) } }),
    isError: !done,
  };
  await record(trx, ref.tenant, ref.run, {
    steps: [{ kind: 'tool_result', turn: call.turn, callId, ordinal: call.ordinal, content }],
    events: [eventOf(call.tool, call.turn, callId, end)],
    // What only reads and went well leaves its verdict there, and nothing more to account for.
    audit: call.has_effect || !done ? [{ ...auditOf(ref, callId, call), ...auditedEnd(end) }] : [],
  });
  return true;
}

async function isOpen(trx: Transaction<Database>, ref: RunRef, callId: string): Promise<boolean> {
  const row = await trx
    .selectFrom('agent_run_tool_invocations')
    .select('state')
    .where('run_id', '=', ref.run)
    .where('call_id', '=', callId)
    .executeTakeFirst();
  return row !== undefined && OPEN.includes(row.state);
}

function auditOf(
  ref: RunRef,
  callId: string,
  call: { readonly tool: string; readonly digest: string | null; policy_set_hash: string; approval_id: string | null },
) {
  return {
    actor: 'worker',
    run: ref.run,
    call: callId,
    tool: call.tool,
    policySet: call.policy_set_hash,
    ...(call.digest === null ? {} : { digest: call.digest }),
    ...(call.approval_id === null ? {} : { grants: { approval: call.approval_id } }),
  };
}

/** An effect with what it changed, from and to; or why there was none. */
function auditedEnd(end: CallEnd): Pick<AuditEntry, 'action' | 'data'> {
  if (end.kind !== 'done') return { action: `call.${end.kind}`, data: { code: end.code, message: end.message } };
  return { action: 'call.effect', data: { change: end.change, undoable: end.undoable, repeated: end.repeated } };
}

function eventOf(tool: string, turn: number, callId: string, end: CallEnd): NewEvent {
  const at = { turn, callId };
  switch (end.kind) {
    case 'done':
      return {
        kind: 'tool.done',
        ...at,
        data: { tool, change: end.change, undoable: end.undoable, repeated: end.repeated },
      };
    case 'denied':
      return { kind: 'tool.denied', ...at, data: { tool, code: end.code, reason: end.message } };
    case 'refused':
      return { kind: 'tool.refused', ...at, data: { tool, code: end.code, message: end.message } };
    case 'failed':
    case 'cancelled':
      return { kind: 'tool.failed', ...at, data: { tool, code: end.code, message: end.message } };
  }
}
