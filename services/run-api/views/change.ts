import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Change } from '#domain/tools.ts';
import type { ChangeSchema } from '#gen/steward/common/v1/change_pb.ts';
import { toWireChange } from '#platform/clients/change.ts';

/** Bytes that all changes of one answer may take. */
const MOST_BYTES = 500_000;

/**
 * Writes changes for one answer. Once they get too long together, the further ones say their summary and quantities
 * only; GetToolCall has each one whole.
 */
export function changeWriter(mostBytes = MOST_BYTES): (change: Change) => MessageInitShape<typeof ChangeSchema> {
  let left = mostBytes;
  return (change) => {
    const wire = toWireChange(change);
    const bytes = Buffer.byteLength(JSON.stringify(wire.fields));
    if (bytes > left) return { ...wire, fields: [] };
    left -= bytes;
    return wire;
  };
}
