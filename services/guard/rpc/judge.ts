import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { callIdOf } from '#domain/ids.ts';
import {
  type JudgedCallSchema,
  type JudgeRequest,
  type JudgeResponseSchema,
  VerdictKind,
} from '#gen/steward/guard/v1/guard_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import type { Turn } from '../judging/assess.ts';
import { judgeTurn } from '../judging/judge-turn.ts';
import { POLICY_SET_HASH, storeVerdicts } from '../judging/store.ts';
import { assertOpen, lockGrantedRun, readRun } from '../runs.ts';

type Response = MessageInitShape<typeof JudgeResponseSchema>;

const MOST_CALLS = 50;
const LONGEST_PROVIDER_ID = 200;
/** So often a turn is judged anew because the run's count of tool calls moved meanwhile. */
const TRIES = 3;

/** Judges a turn once. A repeat, also one that runs at the same time, gets the verdicts that were stored first. */
export async function judge(ctx: CallContext, deps: GuardDeps, request: JudgeRequest): Promise<Response> {
  const grant = await deps.runGrants.verify(request.runGrant);
  assertWellFormed(request);
  for (let tries = 0; tries < TRIES; tries += 1) {
    const begun = await withTenant(deps.db, grant.tenant, async (trx) => {
      const run = await readRun(trx, grant);
      const stored = await readVerdicts(trx, run.id, request.turn);
      if (stored) return { stored };
      assertOpen(run);
      return { run, tools: await deps.pins.toolsOf(trx, grant, run) };
    });
    if (begun.stored) return begun.stored;
    const { run, tools } = begun;
    const turn: Turn = { grant, runGrant: request.runGrant, run, tools, number: request.turn, signal: ctx.signal };
    const judged = await judgeTurn(turn, request.calls, deps.catalogs);
    const response = await withTenant(deps.db, grant.tenant, async (trx) => {
      const locked = await lockGrantedRun(trx, grant);
      const first = await readVerdicts(trx, run.id, request.turn);
      if (first) return first;
      assertOpen(locked);
      if (locked.tool_calls !== run.tool_calls) return null;
      await storeVerdicts(trx, locked, turn, judged);
      return (await readVerdicts(trx, run.id, request.turn)) ?? { calls: [], policySetHash: POLICY_SET_HASH };
    });
    if (response) {
      deps.notifier.wake(run.id);
      return response;
    }
  }
  throw new StewardError('UNAVAILABLE', 'The run is being judged elsewhere at the same time. Try again.');
}

function assertWellFormed(request: JudgeRequest): void {
  const refuse = (why: string): StewardError => new StewardError('INVALID_REQUEST', why);
  if (!(request.turn >= 1 && request.turn <= 999_999)) throw refuse('turn must be 1 to 999,999.');
  if (request.calls.length > MOST_CALLS) throw refuse(`At most ${MOST_CALLS} calls are judged at once.`);
  for (const [index, call] of request.calls.entries()) {
    const id = callIdOf(request.turn, index);
    if (call.callId !== id) throw refuse(`calls[${index}].call_id must be ${id}: calls come in order, from 0.`);
    const { providerId } = call;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be in an id.
    if (providerId.length > LONGEST_PROVIDER_ID || /[\u0000-\u001f]/.test(providerId)) {
      throw refuse(`calls[${index}].provider_id must be at most ${LONGEST_PROVIDER_ID} plain characters.`);
    }
  }
}

const KINDS = { allow: VerdictKind.ALLOW, deny: VerdictKind.DENY, ask: VerdictKind.ASK } as const;

/** The stored verdicts of a turn; undefined where it was not judged yet. */
async function readVerdicts(trx: Transaction<Database>, run: string, turn: number): Promise<Response | undefined> {
  const rows = await trx
    .selectFrom('agent_run_tool_invocations as call')
    .leftJoin('approvals as approval', 'approval.id', 'call.approval_id')
    .select([
      'call.call_id',
      'call.verdict',
      'call.verdict_code',
      'call.verdict_reason',
      'call.approval_id',
      'call.digest',
      'call.resource_keys',
      'call.has_effect',
      'call.catalog',
      'call.timeout_ms',
      'call.policy_set_hash',
      'approval.tier',
      'approval.expires_at',
    ])
    .where('call.run_id', '=', run)
    .where('call.turn', '=', turn)
    .orderBy('call.ordinal')
    .execute();
  if (rows.length === 0) return undefined;
  return {
    policySetHash: rows[0]?.policy_set_hash ?? '',
    calls: rows.map(
      (row): MessageInitShape<typeof JudgedCallSchema> => ({
        callId: row.call_id,
        verdict: KINDS[row.verdict],
        code: row.verdict_code ?? '',
        reason: row.verdict_reason ?? '',
        approvalId: row.approval_id ?? '',
        tier: row.tier ?? 0,
        ...(row.expires_at === null ? {} : { expiresAt: timestampFromDate(row.expires_at) }),
        digest: row.digest ?? '',
        resourceKeys: row.resource_keys,
        effect: row.has_effect,
        catalog: row.catalog ?? '',
        timeoutMs: row.timeout_ms ?? 0,
      }),
    ),
  };
}
