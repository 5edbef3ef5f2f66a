import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { WATCHER } from '#domain/anomaly.ts';
import { StewardError } from '#domain/errors.ts';
import type { RunStatus } from '#domain/run.ts';
import type { ResumeRunRequest, ResumeRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import { assertMayStart, withSwitches } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { Principal, Role } from '#platform/identity/principal.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { assertOpen, type LockedRun, lockRun, owedOf, readRun } from '../run-rows.ts';
import { toRun } from '../views/run.ts';

const LOOKERS: ReadonlySet<Role> = new Set<Role>(['operator', 'admin', 'approver']);

/** Lets a paused run go on where it stood. A run that is not paused stays as it is. */
export async function resumeRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ResumeRunRequest,
): Promise<MessageInitShape<typeof ResumeRunResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const checks = new Checks();
  checks.runId(request.runId);
  checks.line('request_id', request.requestId, { max: 100 });
  checks.done();
  const done = await withSwitches(deps.db, tenant, async (trx) => {
    const run = await lockRun(trx, ctx.principal, request.runId);
    assertOpen(run);
    assertPerson(ctx.principal, run);
    await assertMayStart(trx, { agent: run.agent, actingUser: run.acting_user, id: run.id });
    const outbox = run.paused_by === null ? await owedOf(trx, run.id) : await resume(trx, run, subject);
    return { outbox, run: await readRun(trx, ctx.principal, run.id) };
  });
  deps.notifier.wake(request.runId);
  await deps.deliveries.send(tenant, done.outbox);
  return { run: toRun(done.run, deps.temporalUi) };
}

/** What was paused because it is unusual is looked at by a person: who started it may be what is wrong. */
function assertPerson({ roles, onBehalfOf }: Principal, run: LockedRun): void {
  const looks = onBehalfOf === null && roles.some((role) => LOOKERS.has(role));
  if (run.paused_by !== WATCHER || looks) return;
  throw new StewardError(
    'ROLE_MISSING',
    `Run ${run.id} is paused because it goes otherwise than usual. An operator, admin or approver resumes it.`,
  );
}

async function resume(trx: Transaction<Database>, run: LockedRun, by: string): Promise<number[]> {
  const back = run.status === 'paused' ? await standing(trx, run) : {};
  await trx
    .updateTable('agent_runs')
    .set({ paused_by: null, ...back })
    .where('id', '=', run.id)
    .execute();
  await audit(trx, run.tenant, { actor: by, action: 'run.resume', run: run.id });
  await record(trx, run.tenant, run.id, { events: [{ kind: 'run.resumed', data: { by } }] });
  return [await enqueue(trx, run.tenant, { kind: 'resume', runId: run.id, payload: { by } })];
}

/** What the run waits for once it is no longer paused. */
async function standing(
  trx: Transaction<Database>,
  run: LockedRun,
): Promise<{ readonly status: RunStatus; readonly waits_until: Date | null }> {
  if (run.open_approvals > 0) {
    const row = await trx
      .selectFrom('approvals')
      .select((eb) => eb.fn.max('expires_at').as('until'))
      .where('run_id', '=', run.id)
      .where('state', '=', 'open')
      .executeTakeFirst();
    return { status: 'awaiting_approval', waits_until: row?.until ?? null };
  }
  const began = await trx
    .selectFrom('agent_run_events')
    .select('sequence')
    .where('run_id', '=', run.id)
    .where('kind', '=', 'run.started')
    .limit(1)
    .execute();
  return { status: began.length === 0 ? 'pending' : 'running', waits_until: null };
}
