import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { callIdOf } from '#domain/ids.ts';
import { stopOfRun } from '#domain/kill-switch.ts';
import { hasEffect, keptKeys } from '#domain/tools.ts';
import {
  type AuthorizeResponseSchema,
  type JudgedCallSchema,
  type JudgeRequest,
  type JudgeResponseSchema,
  VerdictKind,
} from '#gen/steward/guard/v1/guard_service_pb.ts';
import { killed } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import { isDuplicate } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { VerifiedRunGrant } from '#platform/identity/grants.ts';
import type { GuardDeps } from '../deps.ts';
import type { Turn } from '../judging/assess.ts';
import { type JudgedCall, judgeTurn, needsNobody, refuseStopped } from '../judging/judge-turn.ts';
import { limitTurn, mostOf } from '../judging/limits.ts';
import { POLICY_SET_HASH, type Stored, storeVerdicts } from '../judging/store.ts';
import { assertOpen, lockForTurn, type RunRow } from '../runs.ts';

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
    try {
      const response = await judgeOnce(ctx, deps, grant, request);
      if (response) return response;
    } catch (error) {
      // Another has judged the turn since its row was asked for.
      if (!isDuplicate(error)) throw error;
    }
  }
  throw new StewardError('UNAVAILABLE', 'The run is being judged elsewhere at the same time. Try again.');
}

/** Null where the run's count of tool calls moved meanwhile. In one transaction where no catalog has to be asked. */
async function judgeOnce(
  ctx: CallContext,
  deps: GuardDeps,
  grant: VerifiedRunGrant,
  request: JudgeRequest,
): Promise<Response | null> {
  const { runGrant, calls, turn: number } = request;
  const opened = await deps.withSwitches(grant.tenant, async (trx) => {
    const { run, judged, spent } = await lockForTurn(trx, grant, number);
    if (judged) return { judged: await readVerdicts(trx, run.id, number) };
    assertMayJudge(run);
    const tools = await deps.pins.toolsOf(trx, grant, run);
    const turn: Turn = { grant, runGrant, run, tools, number, signal: ctx.signal };
    if (!needsNobody(turn, calls, deps.catalogs)) return { turn };
    const found = refuseStopped(run, await judgeTurn(turn, calls, deps.catalogs));
    return { stored: await store(trx, deps, run, turn, found, { spent, begin: request.begin }) };
  });
  if (opened.stored) return settled(deps, grant, opened.stored);
  const { turn } = opened;
  if (!turn) return opened.judged ?? null;
  const found = await judgeTurn(turn, calls, deps.catalogs);
  const again = await deps.withSwitches(grant.tenant, async (trx) => {
    const { run, judged, spent } = await lockForTurn(trx, grant, number);
    if (judged) return { judged: await readVerdicts(trx, run.id, number) };
    assertMayJudge(run);
    if (run.tool_calls !== turn.run.tool_calls) return {};
    return { stored: await store(trx, deps, run, turn, refuseStopped(run, found), { spent, begin: request.begin }) };
  });
  return again.stored ? settled(deps, grant, again.stored) : (again.judged ?? null);
}

interface StoredTurn {
  readonly response: Response;
  /** Owed to the workflow of a run that was paused for what it proposed; null: it was not. */
  readonly pause: number | null;
}

/** Throws where the turn is not to be judged now: the run is closed, or paused by a switch and judged when it goes on. */
function assertMayJudge(run: RunRow): void {
  assertOpen(run);
  const stop = stopOfRun(run.stops);
  if (stop?.action === 'pause') throw killed(stop);
}

async function store(
  trx: Transaction<Database>,
  deps: GuardDeps,
  run: RunRow,
  turn: Turn,
  judged: readonly JudgedCall[],
  how: { readonly begin: boolean; readonly spent: number },
): Promise<StoredTurn> {
  const limited = await limitTurn(trx, run, turn, judged);
  const { stored, pause } = await storeVerdicts(trx, run, turn, limited, { ...how, baselines: deps.baselines });
  const calls = await Promise.all(
    stored.map(async (one): Promise<MessageInitShape<typeof JudgedCallSchema>> => {
      const begun = one.begun ? { begun: await leaveOf(deps, run, one) } : {};
      return Object.assign(verdictOf(one), begun);
    }),
  );
  return { response: { policySetHash: POLICY_SET_HASH, calls }, pause };
}

/** After the commit. The row counts already; the workflow is told so that people see it there, too. */
function settled(deps: GuardDeps, grant: VerifiedRunGrant, { response, pause }: StoredTurn): Response {
  if (pause !== null) {
    deps.log.warn(
      { tenant: grant.tenant, run: grant.run },
      'run paused: it goes otherwise than its agent usually does',
    );
    deps.delivery.send(grant.tenant, grant.run, pause);
    deps.notifier.wake(grant.run);
  }
  return response;
}

/** What Authorize would answer: leave for the first attempt. */
async function leaveOf(
  deps: GuardDeps,
  run: RunRow,
  { judged, id }: Stored,
): Promise<MessageInitShape<typeof AuthorizeResponseSchema>> {
  const { finding, tool } = judged;
  if (finding.verdict !== 'allow' || !tool) throw new StewardError('INTERNAL', `Call ${id} was begun and not allowed.`);
  const { key, digest, bytes } = finding.record;
  const { catalog, name } = tool;
  const attempt = 1;
  const most = mostOf(finding.spends);
  const call = { tenant: run.tenant, run: run.id, call: id, key, digest, tool: name, attempt, catalog, ...most };
  const execution = await deps.executionGrants.sign(call);
  return {
    actionRecord: bytes,
    catalog,
    executionGrants: [execution.token],
    expiresAt: timestampFromDate(execution.expiresAt),
    attempt,
  };
}

function verdictOf({ judged, id, approval }: Stored): MessageInitShape<typeof JudgedCallSchema> {
  const { finding, tool, keys } = judged;
  const denied = finding.verdict === 'deny';
  return {
    callId: id,
    verdict: KINDS[finding.verdict],
    ...(denied ? { code: finding.code, reason: finding.reason } : { digest: finding.record.digest }),
    ...(finding.verdict === 'ask' ? { tier: finding.tier } : {}),
    ...(approval ? { approvalId: approval.id, expiresAt: timestampFromDate(approval.expiresAt) } : {}),
    resourceKeys: keptKeys(keys),
    effect: tool !== undefined && hasEffect(tool),
    catalog: tool?.catalog ?? '',
    timeoutMs: tool?.timeoutMs ?? 0,
  };
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
