import type { MessageInitShape } from '@bufbuild/protobuf';
import { type RawBuilder, type SqlBool, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { ListApprovalsRequest, ListApprovalsResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { Principal } from '#platform/identity/principal.ts';
import { toWireApproval } from '../deciding/message.ts';
import { mayUsersConfirm } from '../deciding/questions.ts';
import { seesAll } from '../deciding/visible.ts';
import type { GuardDeps } from '../deps.ts';

const PAGE = 20;
const MOST = 100;
/** A page ends early at so many bytes of calls and previews, so that it fits one message. */
const PAGE_BYTES = 500_000;

/** Approvals of one state (open where none is named), newest first. */
export async function listApprovals(
  ctx: CallContext,
  deps: GuardDeps,
  request: ListApprovalsRequest,
): Promise<MessageInitShape<typeof ListApprovalsResponseSchema>> {
  const { tenant } = ctx.principal;
  if (request.tenant !== '' && request.tenant !== tenant) {
    throw new StewardError('TENANT_MISMATCH', 'tenant must be that of your token, or be left out.');
  }
  const size = request.pageSize === 0 ? PAGE : request.pageSize;
  if (!(size >= 1 && size <= MOST)) throw new StewardError('INVALID_REQUEST', `page_size must be 1 to ${MOST}.`);
  if (!/^[\w-]{0,64}$/.test(request.runId)) throw new StewardError('INVALID_REQUEST', 'run_id is no run id.');
  const after = readToken(request.pageToken);
  return withTenant(deps.db, tenant, async (trx) => {
    const found = await findPage(trx, ctx.principal, request, after, size + 1);
    const page = fitting(found.slice(0, size));
    const last = page.at(-1);
    const approvals = await readAll(trx, page);
    return { approvals, nextPageToken: last && page.length < found.length ? writeToken(last) : '' };
  });
}

interface Place {
  /** Microseconds since 1970. */
  readonly at: number;
  readonly id: string;
}

interface Found extends Place {
  readonly bytes: number;
  readonly closed_at: Date | null;
}

/** Only what a page is made of: the calls themselves can be large. */
async function findPage(
  trx: Transaction<Database>,
  person: Principal,
  request: ListApprovalsRequest,
  after: Place | undefined,
  limit: number,
): Promise<Found[]> {
  let query = trx
    .selectFrom('approvals as approval')
    .innerJoin('agent_runs as run', 'run.id', 'approval.run_id')
    .select(['approval.id', 'run.closed_at'])
    .select(sql<number>`(extract(epoch from approval.created_at) * 1000000)::bigint`.as('at'))
    .select(sql<number>`octet_length(action_record) + coalesce(octet_length(preview::text), 0)`.as('bytes'))
    .where(inState(request.state))
    .orderBy('approval.created_at', 'desc')
    .orderBy('approval.id', 'desc')
    .limit(limit);
  if (request.runId !== '') query = query.where('approval.run_id', '=', request.runId);
  if (!seesAll(person)) {
    query = query.where((eb) =>
      eb.or([eb('run.started_by', '=', person.subject), eb('run.acting_user', '=', person.subject)]),
    );
  }
  if (after) {
    const at = sql`timestamptz 'epoch' + ${after.at}::bigint * interval '1 microsecond'`;
    query = query.where(sql<SqlBool>`(approval.created_at, approval.id) < (${at}, ${after.id})`);
  }
  return query.execute();
}

function fitting(found: readonly Found[]): readonly Found[] {
  let left = PAGE_BYTES;
  return found.filter((one, index) => {
    left -= one.bytes;
    return index === 0 || left >= 0;
  });
}

async function readAll(trx: Transaction<Database>, page: readonly Found[]) {
  if (page.length === 0) return [];
  const ids = page.map((one) => one.id);
  const approvals = await trx.selectFrom('approvals').selectAll().where('id', 'in', ids).execute();
  const decisions = await trx.selectFrom('approval_decisions').selectAll().where('approval_id', 'in', ids).execute();
  const usersMayConfirm = await mayUsersConfirm(trx);
  return page.flatMap((one) => {
    const approval = approvals.find((row) => row.id === one.id);
    if (!approval) return [];
    const decision = decisions.find((row) => row.approval_id === one.id) ?? null;
    return [toWireApproval({ approval, decision }, one, usersMayConfirm)];
  });
}

/** As `standingOf` says it of one approval. */
function inState(state: ApprovalState): RawBuilder<SqlBool> {
  switch (state) {
    case ApprovalState.APPROVED:
      return sql`approval.state = 'approved'`;
    case ApprovalState.DENIED:
      return sql`approval.state = 'denied'`;
    case ApprovalState.EXPIRED:
      return sql`(approval.state = 'expired'
        or approval.state = 'open' and run.closed_at is null and approval.expires_at <= now())`;
    case ApprovalState.VOID:
      return sql`(approval.state = 'void' or approval.state = 'open' and run.closed_at is not null)`;
    default:
      return sql`approval.state = 'open' and run.closed_at is null and approval.expires_at > now()`;
  }
}

function writeToken({ at, id }: Place): string {
  return Buffer.from(JSON.stringify([at, id])).toString('base64url');
}

function readToken(token: string): Place | undefined {
  if (token === '') return undefined;
  try {
    const [at, id] = JSON.parse(Buffer.from(token, 'base64url').toString('utf8')) as [unknown, unknown];
    const known = typeof at === 'number' && Number.isSafeInteger(at) && at >= 0;
    if (known && typeof id === 'string' && /^[\w-]{1,100}$/.test(id)) return { at, id };
  } catch {
    // Said below.
  }
  throw new StewardError('INVALID_REQUEST', 'page_token is none of ours. Use the one of the previous page, or none.');
}
