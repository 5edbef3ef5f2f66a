import { z } from 'zod';
import { StewardError } from '#domain/errors.ts';
import { PLATFORM_TENANT } from '#platform/identity/platform-tenant.ts';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

/** Text that is there. The message completes "<NAME> …". */
export const required = (what: string): z.ZodString => z.string(`is missing: ${what}`).min(1, `is empty: ${what}`);

const listen = z
  .string()
  .regex(/^.+:\d{1,5}$/, 'must be host:port, for example 127.0.0.1:0 for any free port')
  .default('127.0.0.1:0');

const flag = z
  .enum(['0', '1', 'true', 'false'], 'must be 1 or 0')
  .default('0')
  .transform((text) => text === '1' || text === 'true');

/** An address of one of these schemes. */
export function urlOf(schemes: readonly string[], what: string): z.ZodType<string> {
  const example = `must be ${schemes.map((scheme) => `${scheme}://…`).join(' or ')}: ${what}`;
  return required(what).refine((text) => {
    const scheme = URL.canParse(text) ? new URL(text).protocol.slice(0, -1) : '';
    return schemes.includes(scheme);
  }, example);
}

/** What every service of Steward reads from its environment. */
export const serviceVariables = {
  /** `host:port` to serve on; port 0 takes a free one. */
  STEWARD_LISTEN: listen,
  /** The Postgres of this service, with its own role. A secret. */
  DATABASE_URL: urlOf(['postgres', 'postgresql'], "the address of this service's Postgres, with its own role"),
  /** `iss` of the bearer tokens that are accepted. */
  STEWARD_AUTH_ISSUER: required('the issuer whose bearer tokens are accepted'),
  /** `aud` of the bearer tokens that are accepted. */
  STEWARD_AUTH_AUDIENCE: required('the audience bearer tokens must name'),
  /** Public keys of the issuer: path or URL of a JWKS. */
  STEWARD_AUTH_JWKS: required("path or URL of the JWKS with the issuer's public keys"),
  STEWARD_LOG_LEVEL: z.enum(LEVELS, `must be one of ${LEVELS.join(', ')}`).default('info'),
  /** 1 lets clients ask for the contracts without a token: for development. */
  STEWARD_REFLECTION: flag,
} as const;

/**
 * The public keys of those who sign grants; read by services that verify them. Two sets, because a set would let each of
 * the two signers stand in for the other, and only the guard may sign what leads to effects.
 */
export const grantVariables = {
  /** Public keys of run-api: path or URL of a JWKS. */
  STEWARD_RUN_GRANT_JWKS: required('path or URL of the JWKS with the public keys of run-api, which signs run grants'),
  /** Public keys of the guard: path or URL of a JWKS. */
  STEWARD_EXECUTION_GRANT_JWKS: required(
    'path or URL of the JWKS with the public keys of the guard, which signs execution grants',
  ),
} as const;

/** Who stands above the tenants; read by services whose RPCs concern all of them. */
export const platformVariables = {
  /** The tenant whose operators run the whole installation. */
  STEWARD_PLATFORM_TENANT: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'must be the id of a tenant')
    .default(PLATFORM_TENANT),
} as const;

/**
 * Reads variables from the environment; others are left alone. An empty variable counts as missing.
 * Throws INVALID_REQUEST with one line for every variable that is wrong.
 */
export function readConfig<Shape extends z.ZodRawShape>(
  shape: Shape,
  env: Readonly<Record<string, string | undefined>> = process.env,
): z.output<z.ZodObject<Shape>> {
  const given = Object.fromEntries(Object.keys(shape).map((name) => [name, env[name] === '' ? undefined : env[name]]));
  const parsed = z.object(shape).safeParse(given);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => `  ${issue.path.join('.')} ${issue.message}`);
  throw new StewardError('INVALID_REQUEST', `The environment is not as this service needs it:\n${lines.join('\n')}`);
}

/** The common variables together with a service's own. Throws as `readConfig`. */
export function serviceConfig<Extra extends z.ZodRawShape>(
  extra: Extra,
  env: Readonly<Record<string, string | undefined>> = process.env,
): z.output<z.ZodObject<typeof serviceVariables & Extra>> {
  return readConfig({ ...serviceVariables, ...extra }, env);
}
