import { z } from 'zod';
import type { ActionRecord } from '#domain/action-record.ts';
import { StewardError } from '#domain/errors.ts';
import { keyOf, parseCallId, undoKeyOf } from '#domain/ids.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import { canonicalJson } from './canonical-json.ts';

export { digestOf } from './canonical-json.ts';

/** Bytes of one action record at most: it must fit into a message of 1 MiB beside its grants. */
export const MAX_RECORD_BYTES = 786_432;

const name = z.string().min(1).max(200);
const hash = z.string().regex(/^[0-9a-f]{64}$/, 'is no lower-case hex SHA-256');

const shape = z.strictObject({
  v: z.literal(1),
  kind: z.enum(['execute', 'undo']),
  tenant: name,
  run: name,
  call: name.refine((call) => parseCallId(call) !== null, 'is no call id'),
  user: name,
  catalog: name,
  tool: name,
  toolHash: hash,
  // Its content is checked by `canonicalJson`, and against the tool's own schema by whoever runs it.
  args: z.custom<JsonObject>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), {
    error: 'is no JSON object',
  }),
  previewHash: hash.nullable(),
  key: name,
  undoOf: name.nullable(),
});

const refuse = (why: string, cause?: unknown): StewardError =>
  new StewardError('ARGUMENTS_INVALID', `This is no action record: ${why}.`, cause === undefined ? {} : { cause });

function toRecord(value: unknown): ActionRecord {
  const parsed = shape.safeParse(value);
  if (!parsed.success) {
    const fault = parsed.error.issues[0];
    throw refuse(`${fault?.path.join('.') || 'record'}: ${fault?.message ?? 'wrong'}`);
  }
  const record = parsed.data;
  const key = record.kind === 'execute' ? keyOf(record.run, record.call) : undoKeyOf(record.run, record.call);
  const undoOf = record.kind === 'execute' ? null : keyOf(record.run, record.call);
  if (record.key !== key) throw refuse(`its key must be ${key}`);
  if (record.undoOf !== undoOf) throw refuse(`undoOf must be ${undoOf}`);
  return record;
}

/**
 * The canonical bytes of a record: what is hashed, approved and executed. Throws ARGUMENTS_INVALID for a record or
 * arguments without a faithful canonical form, and for more than 768 KiB.
 */
export function canonicalBytes(record: ActionRecord): Uint8Array {
  const bytes = new TextEncoder().encode(canonicalJson(toRecord(record) as unknown as JsonValue));
  if (bytes.length <= MAX_RECORD_BYTES) return bytes;
  throw refuse(`it has ${bytes.length} bytes; at most ${MAX_RECORD_BYTES} are taken`);
}

/**
 * Reads a record back. Accepts nothing but canonical bytes: the record read spells exactly the bytes given, so that
 * whoever computes the digest and whoever reads the arguments see the same thing. Throws ARGUMENTS_INVALID.
 */
export function parseActionRecord(bytes: Uint8Array): ActionRecord {
  if (bytes.length > MAX_RECORD_BYTES) throw refuse(`more than ${MAX_RECORD_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw refuse('its bytes are no JSON', cause);
  }
  const record = toRecord(value);
  if (Buffer.compare(canonicalBytes(record), bytes) !== 0) throw refuse('its bytes are not the canonical ones');
  return record;
}
