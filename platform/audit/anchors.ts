import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { StewardError } from '#domain/errors.ts';
import { canonicalJson } from '#platform/identity/canonical-json.ts';
import type { PrivateJwk } from '#platform/identity/key-pair.ts';

const statement = z.strictObject({
  v: z.literal(1),
  /** head: the chain's end at that time. pruned: bytes up to here may be gone. */
  kind: z.enum(['head', 'pruned']),
  tenant: z.string(),
  number: z.int().min(1),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  at: z.iso.datetime(),
  kid: z.string(),
});
const line = z.strictObject({ statement, signature: z.string() });

/** What is said of a chain, signed, outside the database. */
export type Statement = z.infer<typeof statement>;
export type Anchor = z.infer<typeof line>;

/** Where signed heads are kept. Another store than the database, best under other administrators. */
export interface AnchorStore {
  /** Returns once the anchor is durable. */
  add(tenant: string, anchor: Anchor): Promise<void>;
  /** All lines of a tenant, oldest first; empty where there are none. */
  read(tenant: string): Promise<string[]>;
  /** The newest lines, of those up to a time where one is given. Empty where there are none. */
  newest(tenant: string, upTo?: Date): Promise<string[]>;
}

/** One file per tenant in a directory, one line per anchor, only ever appended to. */
export function anchorDirectory(directory: string): AnchorStore {
  const pathOf = (tenant: string): string => join(directory, `${encodeURIComponent(tenant)}.anchors.jsonl`);
  return {
    async add(tenant, anchor) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const file = await open(pathOf(tenant), 'a', 0o600);
      try {
        // A line torn by a crash ends here; one write with the line feed in front keeps the next one whole.
        await file.appendFile(`\n${JSON.stringify(anchor)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
    },
    async read(tenant) {
      try {
        return linesOf(await readFile(pathOf(tenant), 'utf8'));
      } catch (error) {
        return noneWhereMissing(error);
      }
    },
    async newest(tenant, upTo) {
      try {
        const file = await open(pathOf(tenant), 'r');
        try {
          const { size } = await file.stat();
          return await linesUpTo(size, upTo, async (position, length) => {
            const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
            return buffer.toString('utf8', 0, bytesRead);
          });
        } finally {
          await file.close();
        }
      } catch (error) {
        return noneWhereMissing(error);
      }
    },
  };
}

/** Some dozens of lines, the newest up to a time; the file grows in the order of time, so halving finds the place. */
async function linesUpTo(
  size: number,
  upTo: Date | undefined,
  read: (position: number, length: number) => Promise<string>,
): Promise<string[]> {
  if (upTo === undefined) return linesOf(await read(Math.max(0, size - END_BYTES), END_BYTES));
  let [low, high] = [0, size];
  while (high - low > END_BYTES) {
    const middle = Math.floor((low + high) / 2);
    const [, ...whole] = linesOf(await read(middle, END_BYTES));
    const first = whole.map(parse).find((one) => one !== undefined);
    if (first !== undefined && Date.parse(first.statement.at) <= upTo.getTime()) low = middle;
    else high = middle;
  }
  const before = Math.max(0, low - END_BYTES);
  const lines = linesOf(await read(before, high - before + END_BYTES));
  return lines.filter((one) => Date.parse(parse(one)?.statement.at ?? '') <= upTo.getTime());
}

/** Some dozens of lines. */
const END_BYTES = 32_768;

function noneWhereMissing(error: unknown): string[] {
  if ((error as { code?: unknown }).code === 'ENOENT') return [];
  throw error;
}

/** The lines of a file of anchors. */
export function linesOf(text: string): string[] {
  return text.split('\n').filter((one) => one !== '');
}

/** Signs what is said of a chain (Ed25519 over its canonical bytes). */
export function signStatement(key: PrivateJwk, said: Omit<Statement, 'v' | 'kid'>): Anchor {
  const whole: Statement = { v: 1, kid: key.kid, ...said };
  const bytes = Buffer.from(canonicalJson(whole));
  return {
    statement: whole,
    signature: sign(null, bytes, createPrivateKey({ key: { ...key }, format: 'jwk' })).toString('base64url'),
  };
}

/**
 * The anchors of a tenant among `lines`. A line that is cut, of another tenant or not signed by one of the keys counts
 * as `bad` and is not believed; `unknown` are those of them that a crash has not torn.
 */
export function readAnchors(
  lines: readonly string[],
  keys: JSONWebKeySet,
  tenant: string,
): { readonly anchors: Statement[]; readonly bad: number; readonly unknown: number } {
  const known = new Map(keys.keys.map((key) => [key.kid, createPublicKey({ key: { ...key }, format: 'jwk' })]));
  const anchors: Statement[] = [];
  let torn = 0;
  for (const text of lines) {
    const anchor = parse(text);
    if (!anchor) torn += 1;
    const key = anchor && known.get(anchor.statement.kid);
    if (!anchor || !key || anchor.statement.tenant !== tenant) continue;
    const bytes = Buffer.from(canonicalJson(anchor.statement));
    if (verify(null, bytes, key, Buffer.from(anchor.signature, 'base64url'))) anchors.push(anchor.statement);
  }
  const bad = lines.length - anchors.length;
  return { anchors, bad, unknown: bad - torn };
}

function parse(text: string): Anchor | undefined {
  try {
    return line.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/**
 * What lines say of a tenant, whoever signed them: for those whom it makes more careful only. The keys of earlier years
 * need not be at hand.
 */
export function statementsOf(lines: readonly string[], tenant: string): Statement[] {
  return lines.flatMap((text) => parse(text)?.statement ?? []).filter((said) => said.tenant === tenant);
}

/** Reads a public key set. Throws INVALID_REQUEST where it is none. */
export function parseKeySet(text: string): JSONWebKeySet {
  const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.literal('OKP'), kid: z.string(), x: z.string() })) });
  try {
    return keySet.parse(JSON.parse(text)) as JSONWebKeySet;
  } catch (cause) {
    throw new StewardError('INVALID_REQUEST', 'The audit key must be a set of Ed25519 public keys (JWKS).', { cause });
  }
}
