import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createLocalJWKSet, createRemoteJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { StewardError } from '#domain/errors.ts';

/** Where public keys come from: a JWKS behind an http(s) URL, in a file (path or file URL), or given as it is. */
export type KeySource = string | JSONWebKeySet;

const FETCH_MS = 5_000;
const KEPT_MS = 600_000;
const COOLDOWN_MS = 30_000;
const FILE_KEPT_MS = 10_000;
const FILE_COOLDOWN_MS = 1_000;

type Find = (...args: Parameters<JWTVerifyGetKey>) => ReturnType<ReturnType<typeof createLocalJWKSet>>;

/** Read again every 10 s, and on an unknown key id at most every second: a rotated or late file is found. */
function keysInFile(path: string): Find {
  let kept: { readonly find: Promise<Find>; readonly at: number } | undefined;

  async function read(): Promise<Find> {
    const keys = createLocalJWKSet(JSON.parse(await readFile(path, 'utf8')) as JSONWebKeySet);
    return (header, token) => keys(header, token);
  }

  async function current(keptMs: number): Promise<Find> {
    if (kept === undefined || performance.now() - kept.at >= keptMs) kept = { find: read(), at: performance.now() };
    const used = kept;
    try {
      return await used.find;
    } catch (error) {
      if (kept === used) kept = undefined;
      throw error;
    }
  }

  return async (header, token) => {
    const find = await current(FILE_KEPT_MS);
    try {
      return await find(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      const fresher = await current(FILE_COOLDOWN_MS);
      if (fresher === find) throw error;
      return await fresher(header, token);
    }
  };
}

function open(source: KeySource): Find {
  if (typeof source !== 'string') return createLocalJWKSet(source);
  if (/^https?:\/\//.test(source)) {
    return createRemoteJWKSet(new URL(source), {
      timeoutDuration: FETCH_MS,
      cacheMaxAge: KEPT_MS,
      cooldownDuration: COOLDOWN_MS,
    });
  }
  return keysInFile(source.startsWith('file:') ? fileURLToPath(source) : source);
}

/**
 * Finds the public key a JWT names. Fails closed: where the set cannot be had or read, UNAVAILABLE, whatever was there
 * before (a set from a URL is kept 10 min, one from a file 10 s).
 */
export function openKeySet(source: KeySource): JWTVerifyGetKey {
  const find = open(source);
  const place = typeof source === 'string' ? `the key set at ${source}` : 'the key set';
  return async (header, token) => {
    try {
      return await find(header, token);
    } catch (cause) {
      // These two are about the token, everything else about the set.
      const aboutToken =
        cause instanceof errors.JWKSNoMatchingKey ||
        cause instanceof errors.JWKSMultipleMatchingKeys ||
        cause instanceof errors.JOSENotSupported;
      if (aboutToken) throw cause;
      throw new StewardError('UNAVAILABLE', `Signatures cannot be checked: ${place} cannot be read. Try again.`, {
        cause,
      });
    }
  };
}
