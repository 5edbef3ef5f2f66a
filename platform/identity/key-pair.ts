import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { StewardError } from '#domain/errors.ts';

const privateJwk = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string().min(1),
  d: z.string().min(1),
  kid: z.string().min(1),
});

/** An Ed25519 private key with its key id. Stays in the process that signs. */
export type PrivateJwk = z.infer<typeof privateJwk>;

export interface KeyPair {
  readonly privateJwk: PrivateJwk;
  readonly jwks: JSONWebKeySet;
  /** Only its owner can read it. */
  readonly privatePath: string;
  /** For everyone who checks signatures. */
  readonly jwksPath: string;
}

/** Checks that a value is an Ed25519 private JWK with a key id. Throws INVALID_REQUEST, never showing the value. */
export function toPrivateJwk(value: unknown): PrivateJwk {
  const parsed = privateJwk.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new StewardError('INVALID_REQUEST', 'A signing key must be an Ed25519 private JWK (OKP, x, d) with a kid.');
}

/** Reads a private key from its file. Throws INVALID_REQUEST where the file is missing or holds something else. */
export async function readPrivateKey(path: string): Promise<PrivateJwk> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new StewardError('INVALID_REQUEST', `The signing key ${path} cannot be read.`, { cause });
  }
  return toPrivateJwk(value);
}

/** The public half as a key set. */
export function publicKeySet(key: PrivateJwk): JSONWebKeySet {
  return { keys: [{ kty: key.kty, crv: key.crv, x: key.x, kid: key.kid, alg: 'EdDSA', use: 'sig' }] };
}

async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function withTemporary(directory: string, text: string, mode: number, place: (path: string) => Promise<void>) {
  const path = join(directory, `.${randomUUID()}.tmp`);
  try {
    await writeWhole(path, text, mode);
    await place(path);
  } finally {
    await rm(path, { force: true });
  }
}

function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code;
}

async function makePrivateFile(directory: string, path: string): Promise<void> {
  const pair = await generateKeyPair('EdDSA', { extractable: true });
  const jwk = await exportJWK(pair.privateKey);
  const text = JSON.stringify({ ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'EdDSA', use: 'sig' });
  await withTemporary(directory, `${text}\n`, 0o600, async (temporary) => {
    try {
      // A link fails where the name is taken: of several processes that start at once, one key wins.
      await link(temporary, path);
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  });
}

/**
 * The Ed25519 key pair `<name>.key.json` (0600) and `<name>.jwks.json` of a directory; made where it is missing. Safe
 * with any number of processes at once: all get the same key, and no reader sees half a file.
 */
export async function createKeyPair(directory: string, name: string): Promise<KeyPair> {
  const privatePath = join(directory, `${name}.key.json`);
  const jwksPath = join(directory, `${name}.jwks.json`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const known = await readFile(privatePath).then(
    () => true,
    (error) => {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    },
  );
  if (!known) await makePrivateFile(directory, privatePath);
  const key = await readPrivateKey(privatePath);
  const jwks = publicKeySet(key);
  const text = `${JSON.stringify(jwks)}\n`;
  const written = await readFile(jwksPath, 'utf8').catch(() => undefined);
  if (written !== text) {
    await withTemporary(directory, text, 0o644, (temporary) => rename(temporary, jwksPath));
  }
  return { privateJwk: key, jwks, privatePath, jwksPath };
}
