import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { AlarmSchema } from '#gen/steward/budget/v1/budget_service_pb.ts';

/** An alarm's row; the product's have no run. */
export interface AlarmRow {
  readonly id: number;
  readonly kind: string;
  readonly subject: string;
  readonly step: number;
  readonly run_id: string | null;
  readonly data: Record<string, unknown>;
  readonly at: Date;
  readonly acknowledged_by: string | null;
  readonly acknowledged_at: Date | null;
}

/** An alarm as it is shown. */
export function toAlarm(row: AlarmRow): MessageInitShape<typeof AlarmSchema> {
  return {
    id: BigInt(row.id),
    kind: row.kind,
    subject: row.subject,
    step: row.step,
    runId: row.run_id ?? '',
    at: timestampFromDate(row.at),
    evidenceJson: JSON.stringify(row.data),
    acknowledgedBy: row.acknowledged_by ?? '',
    ...(row.acknowledged_at ? { acknowledgedAt: timestampFromDate(row.acknowledged_at) } : {}),
  };
}
