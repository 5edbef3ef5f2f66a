import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { StewardError } from '#domain/errors.ts';
import type { JsonValue } from '#domain/json.ts';

const DEEPEST = 64;

function refuse(path: string, why: string): StewardError {
  return new StewardError('ARGUMENTS_INVALID', `${path} ${why}.`, { details: { path } });
}

function checkString(text: string, path: string): void {
  if (!text.isWellFormed()) throw refuse(path, 'has half a surrogate pair, which is no text');
}

function checkNumber(value: number, path: string): void {
  if (!Number.isFinite(value)) throw refuse(path, 'is no finite number');
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw refuse(path, 'is an integer beyond 2^53, which loses digits; send it as a string');
  }
}

function checkArray(items: readonly unknown[], path: string, depth: number): void {
  // One key more than items: `length`. Holes and named properties would be lost.
  if (Reflect.ownKeys(items).length !== items.length + 1)
    throw refuse(path, 'is an array with holes or extra properties');
  for (const [index, item] of items.entries()) check(item, `${path}[${index}]`, depth + 1);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // Not compared with Object.prototype, of which there is one per realm; its own prototype is null in all of them.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function checkObject(value: object, path: string, depth: number): void {
  if (!isPlain(value) || typeof (value as { toJSON?: unknown }).toJSON === 'function')
    throw refuse(path, 'is no plain object');
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key !== 'string') throw refuse(path, 'has a symbol for a key');
    checkString(key, `a key of ${path}`);
    if (key === '__proto__') throw refuse(path, "has the key '__proto__'");
    const property = Object.getOwnPropertyDescriptor(value, key);
    if (property?.enumerable !== true || !('value' in property)) throw refuse(`${path}.${key}`, 'is no plain value');
    check(property.value, `${path}.${key}`, depth + 1);
  }
}

/** Everything `canonicalize` would quietly drop, change or merge is refused here, so that equal bytes mean equal values. */
function check(value: unknown, path: string, depth: number): void {
  if (depth > DEEPEST) throw refuse(path, `is nested more than ${DEEPEST} levels deep`);
  if (value === null || typeof value === 'boolean') return;
  if (typeof value === 'string') checkString(value, path);
  else if (typeof value === 'number') checkNumber(value, path);
  else if (Array.isArray(value)) checkArray(value, path, depth);
  else if (typeof value === 'object') checkObject(value, path, depth);
  else throw refuse(path, `is ${typeof value}, which JSON does not have`);
}

/**
 * The one spelling of a JSON value (RFC 8785). Throws ARGUMENTS_INVALID for what has no faithful spelling: undefined,
 * Map, Date and other classes, NaN, infinities, integers beyond 2^53, lone surrogates, `__proto__`, depth over 64.
 */
export function canonicalJson(value: JsonValue): string {
  check(value, '$', 0);
  const text = canonicalize(value);
  if (text === undefined) throw refuse('$', 'has no JSON form');
  return text;
}

/** Lower-case hex SHA-256. Text counts as its UTF-8 bytes. */
export function digestOf(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
