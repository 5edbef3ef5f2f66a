import type { MessageInitShape } from '@bufbuild/protobuf';
import { type SqlBool, sql } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { ListSwitchesRequest, ListSwitchesResponseSchema } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { toWireSwitch } from '../stopping/message.ts';
import { readId } from '../stopping/requests.ts';

const PAGE = 50;
const MOST = 100;

/** Switches of the caller's tenant and of the product, newest first. The page token is the last switch's id. */
export async function listSwitches(
  ctx: CallContext,
  deps: GuardDeps,
  request: ListSwitchesRequest,
): Promise<MessageInitShape<typeof ListSwitchesResponseSchema>> {
  const { tenant } = ctx.principal;
  const size = request.pageSize === 0 ? PAGE : request.pageSize;
  if (!(size >= 1 && size <= MOST)) throw new StewardError('INVALID_REQUEST', `page_size must be 1 to ${MOST}.`);
  const after = request.pageToken === '' ? null : readId('page_token', request.pageToken);
  const rows = await withTenant(deps.db, tenant, (trx) => {
    let query = trx.selectFrom('kill_switches').selectAll().orderBy('set_at', 'desc').orderBy('id', 'desc');
    if (!request.all) query = query.where('lifted_at', 'is', null);
    if (after !== null) {
      query = query.where(
        sql<SqlBool>`(set_at, id) < (select s.set_at, s.id from kill_switches s where s.id = ${after})`,
      );
    }
    return query.limit(size + 1).execute();
  });
  const page = rows.slice(0, size);
  return {
    switches: page.map((row) => toWireSwitch(row, tenant)),
    nextPageToken: rows.length > size ? (page.at(-1)?.id ?? '') : '',
  };
}
