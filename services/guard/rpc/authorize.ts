import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Selectable, Transaction } from 'kysely';
import { type ErrorCode, isErrorCode, isStewardError, StewardError } from '#domain/errors.ts';
import { parseCallId } from '#domain/ids.ts';
import type { JsonObject } from '#domain/json.ts';
import { resourceKeysOf, type ToolDescriptor } from '#domain/tools.ts';
import { judgeRisk, mayDecide } from '#domain/verdict.ts';
import type { AuthorizeRequest, AuthorizeResponseSchema } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { record } from '#platform/database/journal.ts';
import type { Database, InvocationsTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import type { VerifiedRunGrant } from '#platform/identity/grants.ts';
import { mayUsersConfirm, readQuestion, standingOf } from '../deciding/questions.ts';
import type { GuardDeps } from '../deps.ts';
import { mostOf, reserve } from '../judging/limits.ts';
import { POLICY_SET_HASH } from '../judging/store.ts';
import { assertMayBegin, assertNotStopped, isOutside, lockGrantedRun, type RunRow } from '../runs.ts';

type CallRow = Selectable<InvocationsTable>;

/** The last look before a call runs. Marks it started and grants one attempt, in one transaction. */
export async function authorize(
  _ctx: CallContext,
  deps: GuardDeps,
  request: AuthorizeRequest,
): Promise<MessageInitShape<typeof AuthorizeResponseSchema>> {
  const grant = await deps.runGrants.verify(request.runGrant);
  if (parseCallId(request.callId) === null) throw noCall(grant, request.callId);
  const current = await currentHash(deps, grant, request.callId);
  const response = await deps.withSwitches(grant.tenant, async (trx) => {
    const run = await lockGrantedRun(trx, grant);
    const call = await trx
      .selectFrom('agent_run_tool_invocations')
      .selectAll()
      .where('run_id', '=', run.id)
      .where('call_id', '=', request.callId)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!call) throw noCall(grant, request.callId);
    assertMayBegin(run);
    assertNotStopped(run, { tool: call.tool, effect: call.has_effect });
    assertNotDenied(call);
    const { bytes, key, catalog, args } = assertExact(call, request.digest);
    const tool = (await deps.pins.toolsOf(trx, grant, run)).get(call.tool);
    assertUnchanged(call, tool, current);
    // Of what will run, and not as they were stored: those were cut.
    if (isOutside(run, grant, resourceKeysOf(tool.resourceKeys, args))) {
      throw new StewardError('RESOURCE_DENIED', 'The run was narrowed to other resources.');
    }
    const { by: approvedBy, ...approval } = await standingApproval(trx, run, call, tool);
    if (call.state !== 'judged' && call.state !== 'started' && call.state !== 'outcome_unknown') {
      throw new StewardError('WRONG_STATE', `Call ${call.call_id} has ended: ${call.state}.`, {
        details: { state: call.state },
      });
    }
    await reserve(trx, run, call.call_id, call.spends ?? {}, approval);
    const attempt = call.attempts + 1;
    await markStarted(trx, call, attempt);
    const execution = await deps.executionGrants.sign({
      tenant: run.tenant,
      run: run.id,
      call: call.call_id,
      key,
      digest: request.digest,
      tool: call.tool,
      attempt,
      catalog,
      ...mostOf(call.spends ?? {}),
    });
    const event = { tool: call.tool, catalog, attempt, approvedBy };
    await record(trx, run.tenant, run.id, {
      events: [{ kind: 'tool.started', turn: call.turn, callId: call.call_id, data: event }],
      audit: [
        {
          actor: run.acting_user,
          action: 'call.authorized',
          run: run.id,
          call: call.call_id,
          tool: call.tool,
          digest: request.digest,
          policySet: POLICY_SET_HASH,
          grants: {
            execution: execution.id,
            ...(call.approval_id === null ? {} : { approval: call.approval_id }),
          },
          data: { approvedBy, attempt, catalog },
        },
      ],
    });
    return {
      actionRecord: bytes,
      catalog,
      executionGrants: [execution.token],
      expiresAt: timestampFromDate(execution.expiresAt),
      attempt,
    };
  });
  deps.notifier.wake(grant.run);
  return response;
}

/** Asked before the transaction: nothing goes over the network inside one. */
async function currentHash(deps: GuardDeps, grant: VerifiedRunGrant, callId: string): Promise<string | null> {
  const call = await withTenant(deps.db, grant.tenant, (trx) =>
    trx
      .selectFrom('agent_run_tool_invocations')
      .select(['catalog', 'tool', 'verdict'])
      .where('run_id', '=', grant.run)
      .where('call_id', '=', callId)
      .executeTakeFirst(),
  );
  if (!call) throw noCall(grant, callId);
  if (call.catalog === null || call.verdict === 'deny') return null;
  try {
    return await deps.catalogs.currentHash(call.catalog, call.tool);
  } catch (error) {
    // Not known is neither yes nor no: the worker asks again.
    const why = isStewardError(error) ? error.message : `Catalog ${call.catalog} cannot be asked.`;
    throw new StewardError('UNAVAILABLE', why, { cause: error });
  }
}

function noCall(grant: VerifiedRunGrant, callId: string): StewardError {
  return new StewardError('NOT_FOUND', `Run ${grant.run} has no judged call ${callId.slice(0, 100)}.`);
}

function assertNotDenied(call: CallRow): void {
  if (call.verdict !== 'deny') return;
  const code: ErrorCode = isErrorCode(call.verdict_code ?? '') ? (call.verdict_code as ErrorCode) : 'POLICY_DENIED';
  throw new StewardError('POLICY_DENIED', `Call ${call.call_id} was denied: ${call.verdict_reason ?? code}`, {
    details: { code },
  });
}

/** The digest must be that of the bytes judged, of the bytes stored now, and of this very call. */
function assertExact(call: CallRow, digest: string): { bytes: Buffer; key: string; catalog: string; args: JsonObject } {
  const { action_record: bytes, key, catalog } = call;
  const mismatch = (why: string): StewardError =>
    new StewardError('DIGEST_MISMATCH', `Call ${call.call_id} is not what was judged: ${why}`);
  if (call.digest !== digest) throw mismatch('the digest is another one.');
  if (bytes === null || key === null || catalog === null || digestOf(bytes) !== digest) {
    throw mismatch('its stored action record is another one.');
  }
  const action = parseActionRecord(bytes);
  const own = action.tenant === call.tenant && action.run === call.run_id && action.call === call.call_id;
  if (!own || action.key !== key || action.catalog !== catalog || action.tool !== call.tool) {
    throw mismatch('its action record names another call.');
  }
  return { bytes, key, catalog, args: action.args };
}

function assertUnchanged(call: CallRow, tool: ToolDescriptor | undefined, current: string | null): asserts tool {
  const message = `${call.tool} has changed since the call was judged, or is no longer there.`;
  if (tool?.catalog !== call.catalog || tool?.hash !== call.tool_hash || current !== call.tool_hash) {
    throw new StewardError('TOOL_CHANGED', message);
  }
}

/**
 * Who lets the call run: `policy`, or the subject whose approval stands, and of which tier that is. The rules in force now say what is needed;
 * what was recorded when the call was judged can only ask for more.
 */
async function standingApproval(
  trx: Transaction<Database>,
  run: RunRow,
  call: CallRow,
  tool: ToolDescriptor,
): Promise<{ readonly by: string; readonly tier: number; readonly why: readonly string[] }> {
  const now = judgeRisk(tool);
  if (now.kind === 'deny') throw new StewardError('POLICY_DENIED', now.reason, { details: { code: now.code } });
  if (now.kind === 'allow' && call.verdict === 'allow') return { by: 'policy', tier: 0, why: [] };
  const missing = (why: string): StewardError => new StewardError('APPROVAL_MISSING', `Call ${call.call_id}: ${why}`);
  if (call.approval_id === null) throw missing('it needs an approval now, and nobody was asked.');
  const question = await readQuestion(trx, call.approval_id);
  const { approval, decision } = question;
  switch (standingOf(question, run)) {
    case 'void':
      throw new StewardError('APPROVAL_VOID', 'The run was closed before anyone decided.');
    case 'expired':
      throw new StewardError('APPROVAL_EXPIRED', `Nobody approved call ${call.call_id} in time.`);
    case 'denied':
      throw new StewardError(
        'POLICY_DENIED',
        `Call ${call.call_id} was denied by ${decision?.decided_by ?? 'a person'}.`,
      );
    case 'open':
      throw missing('nobody has approved it yet.');
    case 'approved':
  }
  if (!decision) throw missing('nobody has approved it yet.');
  const bound =
    decision.digest === call.digest &&
    approval.digest === call.digest &&
    decision.run_id === run.id &&
    decision.call_id === call.call_id &&
    decision.decided_at <= approval.expires_at;
  if (!bound) throw missing('its approval is for another call, or came too late.');
  if (now.kind === 'ask' && now.tier > approval.tier) throw missing(`it needs an approval of tier ${now.tier} now.`);
  const person = { subject: decision.decided_by, roles: decision.roles, onBehalfOf: null };
  if (!mayDecide(person, { actingUser: run.acting_user }, await mayUsersConfirm(trx))) {
    throw missing(`${decision.decided_by} may not approve it any more.`);
  }
  return { by: decision.decided_by, tier: approval.tier, why: approval.why };
}

async function markStarted(trx: Transaction<Database>, call: CallRow, attempts: number): Promise<void> {
  await trx
    .updateTable('agent_run_tool_invocations')
    .set({ state: 'started', attempts, ...(call.started_at === null ? { started_at: new Date() } : {}) })
    .where('run_id', '=', call.run_id)
    .where('call_id', '=', call.call_id)
    .execute();
}
