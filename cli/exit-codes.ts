import { type ErrorCode, isStewardError, type StatusName, statusOf } from '#domain/errors.ts';

/** What the command ends with. Stable: scripts test for them. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  denied: 4,
  unavailable: 5,
  conflict: 6,
  internal: 70,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The codes as `--help` tells them. */
export const EXIT_HELP = `Exit codes:
  0    done
  1    the run ended without being completed; a check failed; not confirmed
  2    wrong usage or wrong input
  3    no such run, approval, agent or call
  4    denied: token missing, expired or without the role; refused by a budget, a limit or a kill switch
  5    the service cannot be reached or did not answer in time
  6    conflict: already decided, expired, request id reused, wrong state
  70   a fault inside Steward
  130  interrupted`;

const BY_STATUS: Readonly<Record<StatusName, ExitCode>> = {
  CANCELLED: EXIT.interrupted,
  INVALID_ARGUMENT: EXIT.usage,
  DEADLINE_EXCEEDED: EXIT.unavailable,
  NOT_FOUND: EXIT.notFound,
  ALREADY_EXISTS: EXIT.conflict,
  PERMISSION_DENIED: EXIT.denied,
  RESOURCE_EXHAUSTED: EXIT.denied,
  FAILED_PRECONDITION: EXIT.conflict,
  ABORTED: EXIT.conflict,
  OUT_OF_RANGE: EXIT.usage,
  UNIMPLEMENTED: EXIT.internal,
  INTERNAL: EXIT.internal,
  UNAVAILABLE: EXIT.unavailable,
  UNAUTHENTICATED: EXIT.denied,
};

const BY_CODE: Partial<Readonly<Record<ErrorCode, ExitCode>>> = {
  TOO_LARGE: EXIT.usage,
  KILLED: EXIT.denied,
  SAFE_MODE: EXIT.denied,
};

/** The exit code of a failure. Total. */
export function exitCodeOf(error: unknown): ExitCode {
  if (!isStewardError(error)) return EXIT.internal;
  return BY_CODE[error.code] ?? BY_STATUS[statusOf(error.code)];
}
