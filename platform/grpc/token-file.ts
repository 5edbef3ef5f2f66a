import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StewardError } from '#domain/errors.ts';

const KEPT_MS = 10_000;

/**
 * A token source that reads a file, as Kubernetes mounts service account tokens: read again after 10 s, so that a
 * renewed token is taken up. Throws TOKEN_MISSING where the file cannot be read or is empty.
 */
export function tokenFromFile(path: string, now: () => number = Date.now): () => Promise<string> {
  let kept: { readonly token: Promise<string>; readonly until: number } | undefined;

  async function read(): Promise<string> {
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (cause) {
      throw new StewardError('TOKEN_MISSING', `The token file ${path} cannot be read.`, { cause });
    }
    const token = text.trim();
    if (token === '') throw new StewardError('TOKEN_MISSING', `The token file ${path} is empty.`);
    return token;
  }

  return async () => {
    if (kept === undefined || now() >= kept.until) kept = { token: read(), until: now() + KEPT_MS };
    const current = kept;
    try {
      return await current.token;
    } catch (error) {
      if (kept === current) kept = undefined;
      throw error;
    }
  };
}

/**
 * Token sources by name, each from the file `<name>.token` of one directory: one token per catalog, each good for that
 * catalog alone, so that no catalog can act with the token it was shown. Reads and throws as `tokenFromFile`.
 */
export function tokensInDirectory(directory: string): (name: string) => Promise<string> {
  const known = new Map<string, () => Promise<string>>();
  return (name) => {
    const source = known.get(name) ?? tokenFromFile(join(directory, `${name}.token`));
    known.set(name, source);
    return source();
  };
}
