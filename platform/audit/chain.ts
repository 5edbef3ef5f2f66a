import { createHash } from 'node:crypto';
import type { JsonValue } from '#domain/json.ts';
import { canonicalJson } from '#platform/identity/canonical-json.ts';

/** What stands before the first entry of a chain. */
export const GENESIS: Uint8Array = new Uint8Array(32);

/** What an entry's hash is taken over. */
export interface Leaf {
  readonly tenant: string;
  /** From 1. */
  readonly number: number;
  readonly prev: Uint8Array;
  /** The canonical text, exactly as stored. */
  readonly entry: string;
}

/** SHA-256(0x00 | length of tenant | tenant | number | prev | entry): lengths are fixed or said, so nothing can shift. */
export function leafHash({ tenant, number, prev, entry }: Leaf): Buffer {
  const name = Buffer.from(tenant, 'utf8');
  const head = Buffer.alloc(5);
  head.writeUInt32BE(name.length, 1);
  const place = Buffer.alloc(8);
  place.writeBigUInt64BE(BigInt(number));
  return createHash('sha256').update(head).update(name).update(place).update(prev).update(entry, 'utf8').digest();
}

/** Hex of SHA-256(0x01 | salt | canonical JSON): what an entry says of people, without naming them. */
export function personalHash(salt: Uint8Array, personal: { readonly actor: string; readonly data: JsonValue }): string {
  const text = canonicalJson({ actor: personal.actor, data: personal.data });
  return createHash('sha256').update(Uint8Array.of(1)).update(salt).update(text, 'utf8').digest('hex');
}

/** What binds entries together. Suites weaken it; nothing else has another one. */
export interface ChainRules {
  leaf(leaf: Leaf): Buffer;
  /** Whether a record with this `prev` may stand behind an entry with this hash. */
  follows(hash: Uint8Array, prev: Uint8Array): boolean;
}

export const CHAIN_RULES: ChainRules = {
  leaf: leafHash,
  follows: (hash, prev) => Buffer.compare(hash, prev) === 0,
};
