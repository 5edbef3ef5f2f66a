import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { sql, type Transaction } from 'kysely';
import type { StepSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';

/** Bytes of content that one read takes out of the database, so that it fits one message. */
const PAGE_BYTES = 700_000;
/** Longer content is left out; GetToolCall has a call's result whole. */
const STEP_BYTES = 500_000;
/** What a step without its content counts for. */
const BARE_BYTES = 100;

/** Steps of a run after `after`, in order: `size` at most, and fewer where they are long. `more`: there are further ones. */
export async function readSteps(
  trx: Transaction<Database>,
  run: string,
  after: number,
  size: number,
): Promise<{ readonly steps: MessageInitShape<typeof StepSchema>[]; readonly more: boolean }> {
  const { rows } = await sql<StepRow>`
    select number, kind, turn, call_id, cost_micro_usd, model, created_at, bytes,
      case when bytes <= ${STEP_BYTES} and total <= ${PAGE_BYTES} then content::text end as content,
      total > ${PAGE_BYTES} and place > 1 as beyond
    from (
      select *, sum(case when bytes <= ${STEP_BYTES} then bytes else ${BARE_BYTES} end) over (order by number) as total,
        row_number() over (order by number) as place
      from (
        select *, octet_length(content::text) as bytes from agent_run_steps
        where run_id = ${run} and number > ${after} order by number limit ${size + 1}
      ) as step
    ) as step
    order by number`.execute(trx);
  const page = rows.slice(0, size).filter((step) => !step.beyond);
  const steps = page.map((step) => ({
    number: step.number,
    kind: step.kind,
    turn: step.turn,
    callId: step.call_id ?? '',
    contentJson: step.content ?? JSON.stringify({ left_out: true, bytes: step.bytes }),
    time: timestampFromDate(step.created_at),
    costMicroUsd: BigInt(step.cost_micro_usd ?? 0),
    model: step.model ?? '',
  }));
  return { steps, more: page.length < rows.length };
}

interface StepRow {
  readonly number: number;
  readonly kind: string;
  readonly turn: number;
  readonly call_id: string | null;
  readonly cost_micro_usd: number | null;
  readonly model: string | null;
  readonly created_at: Date;
  readonly bytes: number;
  /** Null: left out, or not of this page. */
  readonly content: string | null;
  readonly beyond: boolean;
}
