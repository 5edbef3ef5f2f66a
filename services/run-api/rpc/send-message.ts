import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { LONGEST_MESSAGE, whyNoMessage } from '#domain/messages.ts';
import type { SendMessageRequest, SendMessageResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { audit, record } from '#platform/database/journal.ts';
import { cutText } from '#platform/database/storable.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { assertOwns } from '../access.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { assertOpen, type LockedRun, lockRun, readRun } from '../run-rows.ts';
import { toRun } from '../views/run.ts';

/** Characters of a message in its event; the whole of it becomes a step. */
const SHOWN = 4_000;

interface Said {
  readonly requestId: string;
  readonly by: string;
  readonly text: string;
}

/**
 * Hands words to a run, once per caller and request id. The run's row is locked, as it is where a turn reads messages and
 * where the run closes: a message is read, or named at the end, or refused. Temporal needs not hear of it.
 */
export async function sendMessage(
  ctx: CallContext,
  deps: RunApiDeps,
  request: SendMessageRequest,
): Promise<MessageInitShape<typeof SendMessageResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const checks = new Checks();
  checks.runId(request.runId);
  checks.line('request_id', request.requestId, { min: 1, max: 100 });
  checks.text('text', request.text, { min: 1, max: LONGEST_MESSAGE });
  checks.that(request.text === '' || request.text.trim() !== '', 'text', 'must say something');
  checks.done();
  const said = { requestId: request.requestId, by: subject, text: request.text };
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const run = await lockRun(trx, ctx.principal, request.runId);
    assertOwns(ctx.principal, run);
    const repeated = await wasSent(trx, run.id, said);
    if (!repeated) await take(trx, run, said);
    return { repeated, run: await readRun(trx, ctx.principal, run.id) };
  });
  deps.notifier.wake(request.runId);
  return { run: toRun(done.run, deps.temporalUi), repeated: done.repeated };
}

/** Whether this was sent before. Throws REQUEST_ID_REUSED where something else was sent under its id. */
async function wasSent(trx: Transaction<Database>, run: string, said: Said): Promise<boolean> {
  const sent = await trx
    .selectFrom('agent_run_messages')
    .select(['number', 'text'])
    .where('run_id', '=', run)
    .where('sent_by', '=', said.by)
    .where('request_id', '=', said.requestId)
    .executeTakeFirst();
  if (sent === undefined) return false;
  if (sent.text === said.text) return true;
  throw new StewardError(
    'REQUEST_ID_REUSED',
    `Request id ${said.requestId} has sent another text to this run, as message ${sent.number}. Take a new id for a new one.`,
  );
}

async function take(trx: Transaction<Database>, run: LockedRun, said: Said): Promise<void> {
  assertOpen(run);
  if (run.cancel_requested_by !== null) {
    throw new StewardError('WRONG_STATE', `Run ${run.id} is being cancelled. Start a run that continues it.`, {
      details: { status: run.status },
    });
  }
  const full = whyNoMessage({ sent: run.messages_sent, read: run.messages_read });
  if (full !== null) throw new StewardError('LIMIT_REACHED', `Run ${run.id} takes no message now. ${full}`);
  const message = run.messages_sent + 1;
  await trx
    .insertInto('agent_run_messages')
    .values({
      tenant: run.tenant,
      run_id: run.id,
      number: message,
      sent_by: said.by,
      request_id: said.requestId,
      text: said.text,
    })
    .execute();
  const facts = { message, characters: said.text.length };
  await audit(trx, run.tenant, { actor: said.by, action: 'run.message', run: run.id, data: facts });
  await record(trx, run.tenant, run.id, {
    run: { messages_sent: message },
    events: [{ kind: 'message.received', data: { message, by: said.by, text: cutText(said.text, SHOWN) } }],
  });
}
