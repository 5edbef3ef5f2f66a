import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { StartRunRequest, StartRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { lockAdmission } from '#platform/database/admission.ts';
import { assertMayStart, withSwitches } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { Principal, Role } from '#platform/identity/principal.ts';
import { readTraceParent } from '#platform/telemetry/trace.ts';
import { tenantOf, userOf } from '../access.ts';
import type { RunApiDeps } from '../deps.ts';
import { newRunId } from '../run-id.ts';
import { owedOf, readRun } from '../run-rows.ts';
import { readContinued } from '../starting/continued.ts';
import { assertMonthsLeft, ensureMonths, insertRun } from '../starting/insert.ts';
import { findAgent, narrow } from '../starting/narrow.ts';
import { type Asked, readStart } from '../starting/request.ts';
import { toRun } from '../views/run.ts';

/** Who may start a version of an agent that is not the current one. */
const PINNERS: ReadonlySet<Role> = new Set<Role>(['service', 'operator', 'admin']);

/**
 * Starts a run, once per caller and request id: the row and what it owes Temporal are one commit, delivered right after
 * it. A crash in between heals on a repeat, or by the sweeper.
 */
export async function startRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: StartRunRequest,
): Promise<MessageInitShape<typeof StartRunResponseSchema>> {
  const { principal } = ctx;
  const tenant = tenantOf(principal, request.tenant);
  const asked = readStart(request, actingUserOf(principal));
  const known = await withTenant(deps.db, tenant, async (trx) => {
    const earlier = await findEarlier(trx, principal, asked);
    if (earlier !== undefined) return { earlier, given: null };
    const continued = await readContinued(trx, principal, asked);
    const given = narrow(await findVersion(trx, principal, asked), asked, continued, deps.knownModels);
    assertPermitted(principal, given.permissions);
    return { earlier, given };
  });
  const begun =
    known.given === null ? { id: known.earlier, outbox: null } : await begin(deps, ctx, tenant, asked, known.given);
  const done = await withTenant(deps.db, tenant, async (trx) => ({
    outbox: begun.outbox ?? (await owedOf(trx, begun.id)),
    run: await readRun(trx, principal, begun.id),
  }));
  deps.notifier.wake(begun.id);
  const { agent, status } = done.run;
  if (begun.outbox !== null) deps.log.info({ run: begun.id, agent, status }, 'run accepted');
  await deps.deliveries.send(tenant, done.outbox);
  return { run: toRun(done.run, deps.temporalUi), repeated: begun.outbox === null };
}

/** Writes the run; `outbox` null where another call with the same request id came first. */
async function begin(
  deps: RunApiDeps,
  { principal, metadata }: CallContext,
  tenant: string,
  asked: Asked,
  given: ReturnType<typeof narrow>,
): Promise<{ readonly id: string; readonly outbox: readonly number[] | null }> {
  const id = newRunId();
  const runGrant = await deps.grants.sign({
    tenant,
    run: id,
    user: asked.actingUser,
    agent: given.agent,
    agentHash: given.agentHash,
    tools: Object.fromEntries(Object.entries(given.tools).map(([catalog, names]) => [catalog, [...names]])),
    resources: [...given.resources],
    permissions: [...given.permissions],
  });
  return withSwitches(deps.db, tenant, async (trx) => {
    const months = await ensureMonths(trx, tenant, asked.actingUser);
    await lockAdmission(trx, tenant);
    const earlier = await findEarlier(trx, principal, asked);
    if (earlier !== undefined) return { id: earlier, outbox: null };
    await assertMayStart(trx, { agent: given.agent, actingUser: asked.actingUser });
    await assertMonthsLeft(trx, months);
    const run = {
      id,
      startedBy: principal.subject,
      asked,
      given,
      runGrant,
      traceParent: readTraceParent(metadata.get('traceparent')),
    };
    return { id, outbox: await insertRun(trx, tenant, run) };
  });
}

/** The user the run is to act for. */
function actingUserOf(principal: Principal): string {
  const itself = principal.roles.some((role) => role === 'user' || role === 'operator' || role === 'admin');
  if (principal.onBehalfOf !== null || itself) return userOf(principal);
  throw new StewardError(
    'NOT_PERMITTED',
    'A service starts runs for a user, never for itself. Get a token with on_behalf_of set to that user.',
  );
}

/** The run this caller started under this request id. Throws REQUEST_ID_REUSED where it was asked for something else. */
async function findEarlier(
  trx: Transaction<Database>,
  principal: Principal,
  asked: Asked,
): Promise<string | undefined> {
  const row = await trx
    .selectFrom('agent_runs')
    .select(['id', 'request_digest'])
    .where('started_by', '=', principal.subject)
    .where('request_id', '=', asked.requestId)
    .executeTakeFirst();
  if (row === undefined || row.request_digest === asked.digest) return row?.id;
  throw new StewardError(
    'REQUEST_ID_REUSED',
    `Request id ${asked.requestId} has started run ${row.id} with another body. Take a new id for a new run.`,
    { details: { run: row.id } },
  );
}

/** Throws NOT_PERMITTED where a user asks for a version that is not the current one: it may have been replaced for a reason. */
async function findVersion(trx: Transaction<Database>, { roles }: Principal, asked: Asked) {
  const row = await findAgent(trx, asked.agent, asked.agentHash);
  if (row.is_current || roles.some((role) => PINNERS.has(role))) return row;
  throw new StewardError(
    'NOT_PERMITTED',
    `Version ${row.hash} of agent ${row.name} is not the current one. Start without a version, or have a service do it.`,
  );
}

/** Throws NOT_PERMITTED where tools of the run need what the user of the token may not do. */
function assertPermitted({ permissions, onBehalfOf, subject }: Principal, needed: readonly string[]): void {
  const missing = permissions === undefined ? [] : needed.filter((one) => !permissions.includes(one));
  if (missing.length === 0) return;
  throw new StewardError(
    'NOT_PERMITTED',
    `The token does not give ${onBehalfOf ?? subject} ${missing.join(', ')}, which tools of this agent need. ` +
      'Leave them out with narrowing.tools, or get a token that does.',
    { details: { missing: missing.join(' ') } },
  );
}
