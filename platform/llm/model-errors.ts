import type { Usage } from '#domain/conversation.ts';
import { type ErrorCode, isStewardError, StewardError } from '#domain/errors.ts';

/** A provider may ask to wait at most this long; beyond it the caller's own retry policy decides. */
const LONGEST_RETRY_AFTER_MS = 3_600_000;
/** Failures before a byte of the request was sent: nothing can have been billed. */
const NEVER_SENT = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|UND_ERR_CONNECT_TIMEOUT|CERT_|ERR_TLS)/;

/** What is known of a call at the moment it failed. */
export interface Failure {
  readonly error: unknown;
  /** Who ended it: null where the provider or the network did. */
  readonly endedBy: 'caller' | 'silence' | 'deadline' | null;
  /** What was counted so far; null where the provider had not begun to. */
  readonly usage: Usage | null;
  readonly now: number;
}

/** The parts of the SDK's errors that are read, by shape: several copies of its classes can meet in one process. */
interface ProviderError {
  readonly status?: number;
  readonly type?: string | null;
  /** OpenAI's finer word for it. */
  readonly code?: string | null;
  readonly apiMessage?: string | null;
  /** Where OpenAI's SDK keeps what the provider said. */
  readonly error?: unknown;
  readonly requestID?: string | null;
  readonly headers?: Headers;
  readonly cause?: unknown;
}

/**
 * The failure of a model call as a StewardError. `details.usage` is what to settle at; `details.unobserved` is true
 * where the request had been sent and no count came back, so that it must be charged at its reservation;
 * `details.retryAfterMs` is the provider's wish.
 */
export function toModelError(failure: Failure): StewardError {
  const { error, endedBy, usage } = failure;
  const known = (error ?? {}) as ProviderError;
  const status = typeof known.status === 'number' ? known.status : null;
  const told = typeof known.type === 'string' || (status !== null && !GATEWAYS.has(status));
  const details = {
    ...(usage === null ? {} : { usage }),
    ...(usage === null && !told && !neverSent(error) ? { unobserved: true } : {}),
    ...(status === null ? {} : { status }),
    ...(known.requestID ? { requestId: known.requestID } : {}),
    ...retryAfter(known.headers, failure.now),
  };
  const as = (code: ErrorCode, message: string): StewardError =>
    new StewardError(code, message, { details, cause: error });

  if (endedBy === 'caller') return as('CANCELLED', 'The model call was cancelled.');
  if (endedBy !== null) {
    const why = endedBy === 'silence' ? 'fell silent' : 'did not finish in time';
    return as(usage === null ? 'MODEL_UNAVAILABLE' : 'MODEL_CUT_OFF', `The model provider ${why}. Try again.`);
  }
  if (isStewardError(error)) return as(error.code, error.message);
  const code = codeOf(status, known.type ?? null, known.code ?? null);
  if (code !== null) return as(code, messageOf(code, status, known));
  return usage === null
    ? as('MODEL_UNAVAILABLE', 'The model provider could not be reached. Try again.')
    : as('MODEL_CUT_OFF', 'The connection to the model broke off within its answer. Try again.');
}

/** What stands between says these where the provider may well have answered, and billed. In the provider's own words they are told. */
const GATEWAYS: ReadonlySet<number> = new Set([408, 499, 504, 524]);

/** An account without money is told as a rate limit, and waiting does not help. */
const UNPAID: ReadonlySet<unknown> = new Set(['insufficient_quota', 'billing_hard_limit_reached', 'billing_error']);

/** By HTTP status; by the error's type or code where it came as an event of a stream that had begun. */
function codeOf(status: number | null, type: string | null, code: string | null): ErrorCode | null {
  if (status === null && type === null) return null;
  if (UNPAID.has(type) || UNPAID.has(code)) return 'MODEL_AUTH';
  if (status === 401 || status === 402 || status === 403) return 'MODEL_AUTH';
  if (status === 429) return 'MODEL_RATE_LIMITED';
  if (status === 529) return 'MODEL_OVERLOADED';
  if (status === 408 || status === 409 || status === 425 || status === 499) return 'MODEL_UNAVAILABLE';
  if (status !== null) return status >= 400 && status < 500 ? 'MODEL_REQUEST_REFUSED' : 'MODEL_UNAVAILABLE';
  switch (type) {
    case 'authentication_error':
    case 'permission_error':
      return 'MODEL_AUTH';
    case 'rate_limit_error':
    case 'rate_limit_exceeded':
      return 'MODEL_RATE_LIMITED';
    case 'overloaded_error':
      return 'MODEL_OVERLOADED';
    case 'invalid_request_error':
    case 'not_found_error':
    case 'request_too_large':
    case 'context_length_exceeded':
    case 'invalid_prompt':
    case 'bio_policy':
    case 'misalignment_policy_violation':
    case 'data_residency_mismatch':
      return 'MODEL_REQUEST_REFUSED';
    default:
      return 'MODEL_UNAVAILABLE';
  }
}

function messageOf(code: ErrorCode, status: number | null, error: ProviderError): string {
  const reason = (error.apiMessage ?? saidIn(error.error) ?? 'it gave no reason').slice(0, 500);
  switch (code) {
    case 'MODEL_AUTH':
      return status === 402 || UNPAID.has(error.type) || UNPAID.has(error.code)
        ? 'The model provider asks for payment. Check the account that the API key belongs to.'
        : 'The model provider refused the API key. Check that it is set, valid and allowed to use this model.';
    case 'MODEL_REQUEST_REFUSED':
      return `The model provider refused the request: ${reason}`;
    case 'MODEL_RATE_LIMITED':
      return 'The model provider limits the rate of calls. Try again later.';
    case 'MODEL_OVERLOADED':
      return 'The model provider is overloaded. Try again later.';
    default:
      return 'The model provider failed. Try again.';
  }
}

function saidIn(body: unknown): string | null {
  const message = (body as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' && message !== '' ? message : null;
}

/** `Retry-After` in seconds or as an HTTP date, `retry-after-ms` before it. */
function retryAfter(headers: Headers | undefined, now: number): { retryAfterMs?: number } {
  const exact = Number.parseFloat(headers?.get('retry-after-ms') ?? '');
  const header = headers?.get('retry-after')?.trim() ?? '';
  const ms = Number.isFinite(exact)
    ? exact
    : /^\d+(\.\d+)?$/.test(header)
      ? Number.parseFloat(header) * 1_000
      : Date.parse(header) - now;
  if (Number.isNaN(ms)) return {};
  return { retryAfterMs: Math.ceil(Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS)) };
}

function neverSent(error: unknown): boolean {
  let cause: unknown = error;
  for (let depth = 0; depth < 6 && typeof cause === 'object' && cause !== null; depth += 1) {
    const { code } = cause as { code?: unknown };
    if (typeof code === 'string' && NEVER_SENT.test(code)) return true;
    cause = (cause as { cause?: unknown }).cause;
  }
  return false;
}
