import { z } from 'zod';
import { StewardError } from '#domain/errors.ts';
import type { JsonValue } from '#domain/json.ts';
import type { ChainRecord } from './verify.ts';

const hex = z.string().regex(/^(?:[0-9a-f]{2})*$/);
const line = z.strictObject({
  tenant: z.string(),
  number: z.int(),
  prev: hex,
  hash: hex,
  entry: z.string().nullable(),
  personal: z.strictObject({ salt: hex, actor: z.string(), data: z.json() }).nullable(),
});

/** A record as one line of an export. */
export function lineOf({ tenant, number, prev, hash, entry, personal }: ChainRecord): string {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const its = personal && { ...personal, salt: text(personal.salt) };
  return JSON.stringify({ tenant, number, prev: text(prev), hash: text(hash), entry, personal: its });
}

/** Reads a line of an export. Throws INVALID_REQUEST for what is none; `at` counts lines from 1. */
export function recordOf(text: string, at: number): ChainRecord {
  let value: z.infer<typeof line>;
  try {
    value = line.parse(JSON.parse(text));
  } catch (cause) {
    throw new StewardError('INVALID_REQUEST', `Line ${at} is no line of an audit export.`, { cause });
  }
  const bytes = (its: string): Buffer => Buffer.from(its, 'hex');
  const { personal } = value;
  return {
    ...value,
    prev: bytes(value.prev),
    hash: bytes(value.hash),
    personal: personal && { ...personal, salt: bytes(personal.salt), data: personal.data as JsonValue },
  };
}
