import { isStewardError, StewardError } from '#domain/errors.ts';
import { documentText } from './document.ts';
import { type ExitCode, exitCodeOf } from './exit-codes.ts';
import { lookFor } from './render/look.ts';
import { visible, visibleLines } from './render/text.ts';
import type { Session } from './session.ts';
import { note } from './terminal.ts';

/** Tells a failure on stderr, with what to do about it, and gives the exit code. In JSON where the output is JSON. */
export function report(thrown: unknown, session: Session | null, json: boolean, command: string): ExitCode {
  const error = isStewardError(thrown) ? thrown : ownFault(thrown);
  const exitCode = exitCodeOf(error);
  const hints = hintsFor(error, session, command);
  if (json) {
    const { code, message, details } = error;
    note(documentText({ error: { code, message, details, hints, exitCode } }, 'line'));
    return exitCode;
  }
  const { paint } = lookFor(process.stderr);
  const [first = '', ...others] = visibleLines(error.message);
  note([`${paint.red('steward:')} ${first}`, ...others, ...hints.map((hint) => `  ${visible(hint)}`)].join('\n'));
  if (!isStewardError(thrown) && process.env.STEWARD_DEBUG !== undefined) console.error(thrown);
  return exitCode;
}

function ownFault(thrown: unknown): StewardError {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new StewardError('INTERNAL', `This command failed: ${message}`, { cause: thrown });
}

/** What the reader can do about a failure, one line each. */
export function hintsFor(error: StewardError, session: Session | null, command: string): readonly string[] {
  const repeat =
    session?.requestId !== undefined && ['UNAVAILABLE', 'DEADLINE'].includes(error.code)
      ? [
          `It may have been done all the same. To be sure that it is done once, repeat it with --request-id ${session.requestId}`,
        ]
      : [];
  return [...ownHints(error, session, command), ...repeat];
}

function ownHints(error: StewardError, session: Session | null, command: string): readonly string[] {
  switch (error.code) {
    case 'UNAVAILABLE':
      return error.details.address === undefined ? [] : notReached(session, command);
    case 'DEADLINE':
      return ['Give it more time with --timeout 30s.'];
    case 'TOKEN_MISSING':
      return session?.target.token.kind === 'file' ? [] : getToken(session, command);
    case 'TOKEN_EXPIRED':
    case 'TOKEN_INVALID':
    case 'TOKEN_WRONG_AUDIENCE':
      return [`The token came from ${tokenFrom(session)}.`, ...getToken(session, command)];
    case 'ROLE_MISSING':
    case 'TENANT_MISMATCH':
      return session?.target.local
        ? [`For another local person: export STEWARD_TOKEN=$(${command} dev token --subject ann --role operator)`]
        : [`The token came from ${tokenFrom(session)}. Ask whoever issues your tokens for the role.`];
    case 'AGENT_UNKNOWN':
      return [`To see which there are: ${command} agent list`];
    case 'REQUEST_ID_REUSED':
      return ['Repeat the first request exactly, or choose another --request-id.'];
    case 'INTERNAL':
    case 'CATALOG_BROKEN':
      return error.cause instanceof Error ? ['STEWARD_DEBUG=1 shows where.'] : ["The service's log has the cause."];
    default:
      return [];
  }
}

function notReached(session: Session | null, command: string): readonly string[] {
  if (session?.target.local) return [`The local environment seems to be down. Start it: ${command} dev up`];
  return [
    `To start a local one: ${command} dev up`,
    'Another address: --address or STEWARD_ADDRESS (guard: --guard-address or STEWARD_GUARD_ADDRESS);',
    'https://host:port where the service wants TLS.',
  ];
}

function tokenFrom(session: Session | null): string {
  const token = session?.target.token;
  if (token === undefined || token.kind === 'none') return 'nowhere';
  return token.kind === 'local' ? "this clone's local key" : token.from;
}

function getToken(session: Session | null, command: string): readonly string[] {
  if (session?.target.local) {
    return [`To get another one: export STEWARD_TOKEN=$(${command} dev token), or unset STEWARD_TOKEN.`];
  }
  return [
    'Set STEWARD_TOKEN, or STEWARD_TOKEN_FILE or --token-file to a file with it.',
    `Your identity provider issues it; for a local environment: export STEWARD_TOKEN=$(${command} dev token)`,
  ];
}
