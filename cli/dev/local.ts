import { type DevEnvironment, readEnvironment, tokenKeyFile } from '#deploy/dev/environment.ts';
import { resolvePaths } from '#deploy/dev/paths.ts';
import { StewardError } from '#domain/errors.ts';
import { readPrivateKey } from '#platform/identity/key-pair.ts';
import type { Role } from '#platform/identity/principal.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import { LOCAL_PERSON } from './person.ts';

/** The claims of a local token. */
export interface LocalToken {
  readonly tenant: string;
  readonly subject: string;
  readonly roles: readonly Role[];
  readonly onBehalfOf?: string;
  /** Default: the environment's own. */
  readonly audience?: string;
  readonly ttlSeconds: number;
}

/** A local environment, and the local person's token for it. */
export interface Local {
  readonly environment: DevEnvironment;
  readonly person: string;
  /** Renewed before it expires. */
  readonly token: () => Promise<string>;
}

type Env = Readonly<Record<string, string | undefined>>;

const TTL_S = 3_600;
const RENEW_MS = (TTL_S - 300) * 1_000;

/** The local environment of this clone, or null where none was started. */
export async function openLocal(env: Env = process.env): Promise<Local | null> {
  const environment = await readEnvironment(await resolvePaths(env));
  if (environment === null) return null;
  let kept: { readonly token: Promise<string>; readonly until: number } | undefined;
  return {
    environment,
    person: LOCAL_PERSON.subject,
    token: async () => {
      if (kept === undefined || Date.now() >= kept.until) {
        kept = { token: mintLocal({ ...LOCAL_PERSON, ttlSeconds: TTL_S }, env), until: Date.now() + RENEW_MS };
      }
      return await kept.token;
    },
  };
}

/** Signs a token that the local environment accepts. Throws WRONG_STATE where none was ever started here. */
export async function mintLocal(claims: LocalToken, env: Env = process.env): Promise<string> {
  const paths = await resolvePaths(env);
  const environment = await readEnvironment(paths);
  if (environment === null) {
    throw new StewardError(
      'WRONG_STATE',
      'No local environment runs from this folder, so there is none to mint a token for. Start it: steward dev up',
    );
  }
  const key = await readPrivateKey(tokenKeyFile(paths));
  const { ttlSeconds, audience = environment.audience, ...who } = claims;
  return await mintToken(key, { issuer: environment.issuer, audience, ...who }, ttlSeconds);
}
