import { StewardError } from '#domain/errors.ts';

/** Where a page of a list by time ends: the time as Postgres writes it, to the microsecond, and the id. */
export interface Place {
  readonly at: string;
  readonly id: string;
}

function bad(): StewardError {
  return new StewardError('INVALID_REQUEST', 'page_token is none of ours. Use the one of the previous page, or none.', {
    details: { field: 'page_token' },
  });
}

export function writePlace({ at, id }: Place): string {
  return Buffer.from(JSON.stringify([at, id])).toString('base64url');
}

/** Undefined for the first page. Throws INVALID_REQUEST for a token that `writePlace` has not written. */
export function readPlace(token: string): Place | undefined {
  if (token === '') return undefined;
  if (token.length > 500) throw bad();
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(token, 'base64url').toString('utf8'));
  } catch {
    throw bad();
  }
  const [at, id] = Array.isArray(value) ? (value as unknown[]) : [];
  if (typeof at !== 'string' || !/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d)?$/.test(at)) throw bad();
  if (typeof id !== 'string' || !/^[\w-]{1,100}$/.test(id)) throw bad();
  return { at, id };
}

/** A token that is a name: for lists by name. */
export function writeName(name: string): string {
  return Buffer.from(name).toString('base64url');
}

export function readName(token: string): string {
  const name = Buffer.from(token, 'base64url').toString('utf8');
  if (token === '' || /^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) return name;
  throw bad();
}

/** A token for a list of tools by catalog and name. */
export function writeToolPlace(catalog: string, name: string): string {
  return Buffer.from(JSON.stringify([catalog, name])).toString('base64url');
}

/** Undefined for the first page. Throws INVALID_REQUEST for a token that `writeToolPlace` has not written. */
export function readToolPlace(token: string): readonly [catalog: string, name: string] | undefined {
  if (token === '') return undefined;
  if (token.length > 1_000) throw bad();
  try {
    const value = JSON.parse(Buffer.from(token, 'base64url').toString('utf8')) as unknown;
    if (Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === 'string')) {
      return value as [string, string];
    }
  } catch {}
  throw bad();
}
