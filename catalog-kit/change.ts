import type { MessageInitShape } from '@bufbuild/protobuf';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import { quantityName } from '#domain/quantities.ts';
import type { Change, FieldChange } from '#domain/tools.ts';
import type { ChangeSchema } from '#gen/steward/common/v1/change_pb.ts';
import type { Tool } from './tool.ts';

/**
 * The fields in which a record differs before and after; null stands for a record that did not or does not exist.
 * `record` is `kind/id`: `task/t_17`.
 */
export function fieldChanges(record: string, before: JsonObject | null, after: JsonObject | null): FieldChange[] {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  return [...names].flatMap((field) => {
    const was = before?.[field];
    const is = after?.[field];
    if (sameJson(was, is)) return [];
    return [
      { record, field, ...(was === undefined ? {} : { before: was }), ...(is === undefined ? {} : { after: is }) },
    ];
  });
}

/**
 * Whether a record still is as a change left it: every changed field of it has its after value. What others have done to
 * other fields since does not matter. `now` is null where the record does not exist.
 */
export function standsAsChanged(change: Change, record: string, now: JsonObject | null): boolean {
  const own = change.fields.filter((field) => field.record === record);
  return own.length > 0 && own.every((field) => sameJson(now?.[field.field], field.after));
}

/** Equal as JSON values, whatever the order of keys. */
export function sameJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as JsonObject, b as JsonObject];
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && sameJson(left[key], right[key]))
  );
}

/** What is wrong with a change a tool gave, or null. */
export function faultOfChange(tool: Tool, change: Change): string | null {
  if (typeof change?.summary !== 'string' || change.summary === '' || change.summary.length > 500) {
    return 'its change needs a summary of 1 to 500 characters';
  }
  for (const [name, amount] of Object.entries(change.quantities)) {
    if (!tool.quantities.some((declared) => quantityName(declared) === name))
      return `its change spends ${name}, which the tool does not declare`;
    if (!Number.isSafeInteger(amount) || amount < 0) return `its change spends ${amount} of ${name}`;
  }
  return null;
}

/** A change as it goes over the wire. */
export function toProtoChange(change: Change): MessageInitShape<typeof ChangeSchema> {
  return {
    summary: change.summary,
    fields: change.fields.map((field) => ({
      record: field.record,
      field: field.field,
      beforeJson: field.before === undefined ? '' : JSON.stringify(field.before),
      afterJson: field.after === undefined ? '' : JSON.stringify(field.after),
    })),
    quantities: Object.fromEntries(Object.entries(change.quantities).map(([name, n]) => [name, BigInt(n)])),
  };
}
