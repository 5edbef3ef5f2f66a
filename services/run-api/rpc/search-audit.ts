import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';
import type { SearchAuditRequest, SearchAuditResponseSchema } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';

const PAGE = 50;
const MOST = 200;

/** Entries that fit, newest first. */
export async function searchAudit(
  ctx: CallContext,
  deps: RunApiDeps,
  request: SearchAuditRequest,
): Promise<MessageInitShape<typeof SearchAuditResponseSchema>> {
  const checks = new Checks();
  for (const field of ['runId', 'actor', 'tool', 'action'] as const) checks.line(field, request[field], { max: 200 });
  const from = checks.time('from', request.from);
  const to = checks.time('to', request.to);
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  const before = readToken(request.pageToken);
  const found = await withTenant(deps.db, ctx.principal.tenant, (trx) => {
    let query = trx
      .selectFrom('audit_log as l')
      .leftJoin('audit_chain as c', (join) => join.onRef('c.audit_id', '=', 'l.id').onRef('c.tenant', '=', 'l.tenant'))
      .select(['l.id', 'c.number', 'l.at', 'l.actor', 'l.action', 'l.run_id', 'l.call_id', 'l.tool', 'l.digest'])
      .select(['l.data', 'l.entry'])
      .where('l.tenant', '=', ctx.principal.tenant)
      .orderBy('l.id', 'desc')
      .limit(size + 1);
    if (request.runId !== '') query = query.where('l.run_id', '=', request.runId);
    if (request.actor !== '') query = query.where('l.actor', '=', request.actor);
    if (request.tool !== '') query = query.where('l.tool', '=', request.tool);
    if (request.action !== '') query = query.where('l.action', '=', request.action);
    if (from) query = query.where('l.at', '>=', from);
    if (to) query = query.where('l.at', '<', to);
    if (before !== null) query = query.where('l.id', '<', before);
    return query.execute();
  });
  const page = found.slice(0, size);
  return {
    entries: page.map((row) => ({
      number: BigInt(row.number ?? 0),
      at: timestampFromDate(row.at),
      actor: row.actor ?? '',
      action: row.action,
      runId: row.run_id ?? '',
      callId: row.call_id ?? '',
      tool: row.tool ?? '',
      digest: row.digest ?? '',
      dataJson: row.data === null ? '' : JSON.stringify(row.data),
      entryJson: row.entry ?? '',
    })),
    nextPageToken: found.length > size ? Buffer.from(String(page.at(-1)?.id)).toString('base64url') : '',
  };
}

function readToken(token: string): number | null {
  if (token === '') return null;
  const id = Buffer.from(token, 'base64url').toString('utf8');
  if (/^[1-9]\d{0,14}$/.test(id)) return Number(id);
  throw new StewardError('INVALID_REQUEST', 'page_token is none of ours. Use the one of the previous page, or none.', {
    details: { field: 'page_token' },
  });
}
