import { StewardError } from '#domain/errors.ts';
import type { Change } from '#domain/tools.ts';
import type { Change as WireChange } from '#gen/steward/common/v1/change_pb.ts';
import { fromWireChange } from '#platform/clients/change.ts';
import { plainText } from './plain-text.ts';

/** Longest preview kept, in characters of JSON: it is shown beside the arguments and must fit one message with them. */
export const MAX_PREVIEW = 200_000;
const MAX_LINE = 500;

export interface Preview {
  readonly change: Change;
  /** Set where the change was too long, and is shown in part. */
  readonly cut: string | null;
}

/** Reads what a catalog says a call would change. Throws CATALOG_BROKEN where it cannot be read. */
export function readPreview(wire: WireChange | undefined, catalog: string): Preview {
  const read = fromWire(wire, catalog);
  let left = MAX_PREVIEW;
  const fields = read.fields.flatMap((field) => {
    left -= JSON.stringify(field).length;
    return left < 0
      ? []
      : [{ ...field, record: plainText(field.record, MAX_LINE), field: plainText(field.field, MAX_LINE) }];
  });
  const all = read.fields.length;
  return {
    change: { summary: plainText(read.summary, MAX_LINE), fields, quantities: read.quantities },
    cut: fields.length === all ? null : `The preview is too long: it shows ${fields.length} of ${all} changed fields.`,
  };
}

function fromWire(wire: WireChange | undefined, catalog: string): Change {
  const broken = (why: string, cause?: unknown): StewardError =>
    new StewardError('CATALOG_BROKEN', `Catalog ${catalog} gave a preview that cannot be read: ${why}.`, { cause });
  let change: Change | null;
  try {
    change = fromWireChange(wire);
  } catch (cause) {
    throw broken('a value in it is no JSON', cause);
  }
  if (change === null) throw broken('it is empty');
  const odd = Object.entries(change.quantities).find(([, amount]) => !Number.isSafeInteger(amount));
  if (odd) throw broken(`quantity ${plainText(odd[0], 50)} is ${odd[1]}`);
  return change;
}
