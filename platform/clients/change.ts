import { DEEPEST_KEPT, isDeeperThan, type JsonValue } from '#domain/json.ts';
import type { Change } from '#domain/tools.ts';
import type { Change as WireChange } from '#gen/steward/common/v1/change_pb.ts';

/**
 * A change as it came over the wire; sides that are empty there are absent here. Throws SyntaxError on what is no JSON,
 * or nested deeper than can be kept.
 */
export function fromWireChange(wire: WireChange | undefined): Change | null {
  if (!wire) return null;
  return {
    summary: wire.summary,
    fields: wire.fields.map((field) => ({
      record: field.record,
      field: field.field,
      ...(field.beforeJson === '' ? {} : { before: parseKept(field.beforeJson) }),
      ...(field.afterJson === '' ? {} : { after: parseKept(field.afterJson) }),
    })),
    quantities: Object.fromEntries(Object.entries(wire.quantities).map(([name, value]) => [name, Number(value)])),
  };
}

/** Reads JSON of others' making. Throws SyntaxError on what is none, or nested deeper than can be kept. */
export function parseKept(text: string): JsonValue {
  const value = JSON.parse(text) as JsonValue;
  if (isDeeperThan(value, DEEPEST_KEPT)) throw new SyntaxError(`It is nested more than ${DEEPEST_KEPT} levels deep.`);
  return value;
}

/** A change as it goes over the wire. */
export function toWireChange(change: Change) {
  return {
    summary: change.summary,
    fields: change.fields.map((field) => ({
      record: field.record,
      field: field.field,
      beforeJson: field.before === undefined ? '' : JSON.stringify(field.before),
      afterJson: field.after === undefined ? '' : JSON.stringify(field.after),
    })),
    quantities: Object.fromEntries(Object.entries(change.quantities).map(([name, value]) => [name, BigInt(value)])),
  };
}
