/**
 * Every way Steward can say no, as one closed union, with its two total mappings: to a gRPC status and to a Temporal
 * failure. Identity is the code, never `instanceof`. The message is for the caller and says what to do; causes go to
 * the log.
 */

/** Canonical gRPC status names (google.rpc.Code). */
export type StatusName =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED';

interface ErrorSpec {
  readonly status: StatusName;
  /** Whether an activity that failed with this code may be run again unchanged. */
  readonly retryable: boolean;
}

const no = (status: StatusName): ErrorSpec => ({ status, retryable: false });
const again = (status: StatusName): ErrorSpec => ({ status, retryable: true });

/** The closed set. A code is never renamed or reused; a new one is added with both mappings. */
export const ERRORS = {
  // identity
  TOKEN_MISSING: no('UNAUTHENTICATED'),
  TOKEN_INVALID: no('UNAUTHENTICATED'),
  TOKEN_EXPIRED: no('UNAUTHENTICATED'),
  TOKEN_WRONG_AUDIENCE: no('UNAUTHENTICATED'),
  ROLE_MISSING: no('PERMISSION_DENIED'),
  TENANT_MISMATCH: no('PERMISSION_DENIED'),
  NOT_PERMITTED: no('PERMISSION_DENIED'),
  // requests
  INVALID_REQUEST: no('INVALID_ARGUMENT'),
  UNKNOWN_FIELD: no('INVALID_ARGUMENT'),
  TOO_LARGE: no('RESOURCE_EXHAUSTED'),
  NOT_FOUND: no('NOT_FOUND'),
  REQUEST_ID_REUSED: no('ALREADY_EXISTS'),
  ALREADY_DECIDED: no('FAILED_PRECONDITION'),
  WRONG_STATE: no('FAILED_PRECONDITION'),
  AGENT_UNKNOWN: no('NOT_FOUND'),
  AGENT_INVALID: no('INVALID_ARGUMENT'),
  MODEL_UNKNOWN: no('INVALID_ARGUMENT'),
  // grants and approvals
  GRANT_INVALID: no('PERMISSION_DENIED'),
  GRANT_EXPIRED: no('PERMISSION_DENIED'),
  GRANT_REPLAYED: no('PERMISSION_DENIED'),
  GRANT_MISMATCH: no('PERMISSION_DENIED'),
  APPROVAL_EXPIRED: no('FAILED_PRECONDITION'),
  APPROVAL_VOID: no('FAILED_PRECONDITION'),
  APPROVAL_MISSING: no('FAILED_PRECONDITION'),
  DIGEST_MISMATCH: no('FAILED_PRECONDITION'),
  DECISION_FORGED: no('PERMISSION_DENIED'),
  KEY_REUSED: no('ALREADY_EXISTS'),
  TOMBSTONED: no('FAILED_PRECONDITION'),
  // tools
  TOOL_UNKNOWN: no('NOT_FOUND'),
  TOOL_CHANGED: no('FAILED_PRECONDITION'),
  TOOL_REFUSED: no('FAILED_PRECONDITION'),
  ARGUMENTS_INVALID: no('INVALID_ARGUMENT'),
  RESOURCE_DENIED: no('PERMISSION_DENIED'),
  POLICY_DENIED: no('PERMISSION_DENIED'),
  CATALOG_UNAVAILABLE: again('UNAVAILABLE'),
  CATALOG_BROKEN: again('INTERNAL'),
  OUTCOME_UNKNOWN: again('ABORTED'),
  // budget and limits
  BUDGET_EXCEEDED: no('RESOURCE_EXHAUSTED'),
  LIMIT_REACHED: no('RESOURCE_EXHAUSTED'),
  QUANTITY_LIMIT: no('RESOURCE_EXHAUSTED'),
  QUANTITY_UNKNOWN: no('FAILED_PRECONDITION'),
  TOO_MANY_CALLS: no('RESOURCE_EXHAUSTED'),
  // model
  MODEL_RATE_LIMITED: again('RESOURCE_EXHAUSTED'),
  MODEL_OVERLOADED: again('UNAVAILABLE'),
  MODEL_UNAVAILABLE: again('UNAVAILABLE'),
  MODEL_CUT_OFF: again('UNAVAILABLE'),
  MODEL_BAD_ANSWER: again('INTERNAL'),
  MODEL_AUTH: no('FAILED_PRECONDITION'),
  MODEL_REQUEST_REFUSED: no('FAILED_PRECONDITION'),
  // platform
  KILLED: no('FAILED_PRECONDITION'),
  SAFE_MODE: no('FAILED_PRECONDITION'),
  CANCELLED: no('CANCELLED'),
  DEADLINE: again('DEADLINE_EXCEEDED'),
  UNAVAILABLE: again('UNAVAILABLE'),
  INTERNAL: again('INTERNAL'),
  UNIMPLEMENTED: no('UNIMPLEMENTED'),
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;

/** The gRPC status of a code. Total. */
export function statusOf(code: ErrorCode): StatusName {
  return ERRORS[code].status;
}

/** Whether Temporal may retry an activity that failed with this code. Total. */
export function isRetryable(code: ErrorCode): boolean {
  return ERRORS[code].retryable;
}

/** The failures of a model that a model of another provider might not have. Refusals are none: they are about the request. */
export const MODEL_OUTAGES: readonly ErrorCode[] = [
  'MODEL_RATE_LIMITED',
  'MODEL_OVERLOADED',
  'MODEL_UNAVAILABLE',
  'MODEL_CUT_OFF',
  'MODEL_BAD_ANSWER',
];

/** True for a text that is one of the codes: used where a code arrives over a wire. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

const BRAND = 'steward.error/v1';

/** The one error class. `message` is for the caller; `cause` is for the log and never leaves the process. */
export class StewardError extends Error {
  readonly brand = BRAND;
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly details?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StewardError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** Membership by shape, because several copies of this class can meet in one process (workflow sandbox, jest). */
export function isStewardError(error: unknown): error is StewardError {
  return typeof error === 'object' && error !== null && (error as { brand?: unknown }).brand === BRAND;
}

/** Makes a StewardError of anything: known ones pass, the rest become INTERNAL without leaking their text. */
export function toStewardError(error: unknown): StewardError {
  if (isStewardError(error)) return error;
  return new StewardError('INTERNAL', 'Something failed inside Steward. Try again; the log has the cause.', {
    cause: error,
  });
}
