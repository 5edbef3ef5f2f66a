import { StewardError } from '#domain/errors.ts';
import { tokenFromFile } from '#platform/grpc/token-file.ts';

/** Where a token comes from, for the call and for the message when it is refused. */
export interface TokenSource {
  readonly kind: 'file' | 'environment' | 'local' | 'none';
  /** `STEWARD_TOKEN`, a path, or whom the local token is for. */
  readonly from: string;
  readonly get: () => Promise<string> | string;
}

/** Where the services are and as whom they are called. */
export interface Target {
  /** Null where nothing names it. */
  readonly runApi: string | null;
  readonly guard: string | null;
  readonly token: TokenSource;
  /** The running local environment that this is, where it is one. */
  readonly local: { readonly temporal: string; readonly namespace: string } | null;
}

/** Options of every command. */
export interface Globals {
  readonly json?: boolean;
  readonly address?: string;
  readonly guardAddress?: string;
  readonly tokenFile?: string;
  /** Milliseconds. */
  readonly timeout?: number;
}

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Options win over the environment. Only where neither names any address is the local environment used, so that a
 * command meant for one installation never reaches another; its token is minted for the local person.
 */
export async function resolveTarget(globals: Globals, env: Env = process.env): Promise<Target> {
  const runApi = address(globals.address, '--address') ?? address(env.STEWARD_ADDRESS, 'STEWARD_ADDRESS');
  const guard =
    address(globals.guardAddress, '--guard-address') ?? address(env.STEWARD_GUARD_ADDRESS, 'STEWARD_GUARD_ADDRESS');
  const token = tokenOf(globals, env);
  if (runApi !== null || guard !== null) return { runApi, guard, token: token ?? NO_TOKEN, local: null };
  // Loaded only where it is needed: it brings what signs tokens.
  const { openLocal } = await import('./dev/local.ts');
  const local = await openLocal(env);
  if (local === null) return { runApi, guard, token: token ?? NO_TOKEN, local: null };
  return {
    runApi: local.environment.runApi,
    guard: local.environment.guard,
    token: token ?? { kind: 'local', from: local.person, get: local.token },
    local: local.environment,
  };
}

function address(text: string | undefined, where: string): string | null {
  if (text === undefined || text === '') return null;
  if (/^(?:https?:\/\/)?[^\s/]+:\d{1,5}$/.test(text)) return text;
  throw new StewardError(
    'INVALID_REQUEST',
    `${where} is ${JSON.stringify(text)}, which is no address. Write host:port, or https://host:port for TLS.`,
  );
}

function tokenOf(globals: Globals, env: Env): TokenSource | null {
  const file = globals.tokenFile;
  if (file !== undefined) return { kind: 'file', from: file, get: tokenFromFile(file) };
  const given = env.STEWARD_TOKEN?.trim();
  if (given !== undefined && given !== '') return { kind: 'environment', from: 'STEWARD_TOKEN', get: () => given };
  const named = env.STEWARD_TOKEN_FILE;
  if (named !== undefined && named !== '') return { kind: 'file', from: named, get: tokenFromFile(named) };
  return null;
}

const NO_TOKEN: TokenSource = {
  kind: 'none',
  from: '',
  get: () => {
    throw new StewardError('TOKEN_MISSING', 'No token: you are nobody to Steward.');
  },
};
