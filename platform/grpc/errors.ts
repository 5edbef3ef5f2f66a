import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ServerError, Status } from 'nice-grpc';
import { type ErrorCode, isErrorCode, type StatusName, StewardError, statusOf } from '#domain/errors.ts';
import { type ErrorDetail, ErrorDetailSchema } from '#gen/steward/common/v1/error_pb.ts';

/** The trailer that carries a steward.common.v1.ErrorDetail beside the status of a failed call. */
export const ERROR_TRAILER = 'steward-error-bin';

// Clients built on gRPC's C core (Python, Ruby, C++) refuse more than 8 KiB of headers: status text and trailer share it.
const MAX_STATUS_TEXT = 1_500;
const MAX_MESSAGE_BYTES = 2_000;
const MAX_DETAILS_BYTES = 1_400;

const utf8 = new TextEncoder();

/** Cuts a text at a whole character, so that `size` of what is left is within `max`. */
function cut(text: string, max: number, size: (text: string) => number): string {
  const whole = text.toWellFormed();
  if (size(whole) <= max) return whole;
  let kept = '';
  let used = size('…');
  for (const character of whole) {
    used += size(character);
    if (used > max) break;
    kept += character;
  }
  return `${kept}…`;
}

const bytesOf = (text: string): number => utf8.encode(text).length;
const encodedLengthOf = (text: string): number => encodeURI(text).length;

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}

/** The error as its trailer's bytes. Long texts are cut, so that the whole fits any client's header limit. */
export function toTrailer(error: StewardError): Uint8Array {
  const details: Record<string, string> = {};
  let left = MAX_DETAILS_BYTES;
  for (const [key, value] of Object.entries(error.details)) {
    if (value === undefined) continue;
    const text = cut(textOf(value), 400, bytesOf);
    left -= bytesOf(key) + bytesOf(text) + 8;
    if (left < 0) break;
    details[key] = text;
  }
  const message = cut(error.message, MAX_MESSAGE_BYTES, bytesOf);
  return toBinary(ErrorDetailSchema, create(ErrorDetailSchema, { code: error.code, message, details }));
}

/** The error's gRPC status number. */
export function toStatusNumber(error: StewardError): number {
  return Status[statusOf(error.code)];
}

/** The error's status text: its message, short enough for any client. */
export function toStatusText(error: StewardError): string {
  return cut(error.message, MAX_STATUS_TEXT, encodedLengthOf);
}

/** The error as nice-grpc answers it; the trailer goes apart. */
export function toServerError(error: StewardError): ServerError {
  return new ServerError(toStatusNumber(error), toStatusText(error));
}

const CODE_OF_STATUS: Readonly<Record<StatusName, ErrorCode>> = {
  CANCELLED: 'CANCELLED',
  INVALID_ARGUMENT: 'INVALID_REQUEST',
  DEADLINE_EXCEEDED: 'DEADLINE',
  NOT_FOUND: 'NOT_FOUND',
  ALREADY_EXISTS: 'KEY_REUSED',
  PERMISSION_DENIED: 'NOT_PERMITTED',
  RESOURCE_EXHAUSTED: 'LIMIT_REACHED',
  FAILED_PRECONDITION: 'WRONG_STATE',
  ABORTED: 'OUTCOME_UNKNOWN',
  OUT_OF_RANGE: 'INVALID_REQUEST',
  UNIMPLEMENTED: 'UNIMPLEMENTED',
  INTERNAL: 'INTERNAL',
  UNAVAILABLE: 'UNAVAILABLE',
  UNAUTHENTICATED: 'TOKEN_INVALID',
};

const TOO_LARGE = /(?:message larger than max|to a size larger than|message with a size larger than)/;
const CUT_OFF = /RST_STREAM|Connection dropped|GOAWAY|ECONNRESET|Call ended without gRPC status/;
const NOT_ENCODED = 'Request message serialization failure';

/** Where a call went, for the messages of errors that have none of their own. */
export interface Peer {
  /** The service as its caller thinks of it: `GuardService`. */
  readonly name: string;
  readonly address: string;
}

function ofStatus(status: number, text: string, peer: Peer): StewardError {
  const make = (code: ErrorCode, message: string): StewardError =>
    new StewardError(code, message, {
      details: { address: peer.address, status: Status[status] ?? status },
      cause: text,
    });
  const where = `${peer.name} at ${peer.address}`;
  if (status === Status.RESOURCE_EXHAUSTED && TOO_LARGE.test(text)) {
    return make('TOO_LARGE', `A message to or from ${where} is over the size limit. ${text}.`);
  }
  if (text.startsWith(NOT_ENCODED)) return make('INVALID_REQUEST', `The request to ${where} does not encode: ${text}`);
  if (
    CUT_OFF.test(text) &&
    (status === Status.INTERNAL || status === Status.UNAVAILABLE || status === Status.UNKNOWN)
  ) {
    return make('UNAVAILABLE', `The connection to ${where} was lost during the call. Try again.`);
  }
  if (status === Status.UNAVAILABLE) {
    return make(
      'UNAVAILABLE',
      `${peer.name} cannot be reached at ${peer.address}. Is it running, is the address right?`,
    );
  }
  const code = CODE_OF_STATUS[Status[status] as StatusName] ?? 'INTERNAL';
  if (code === 'INTERNAL') return make('INTERNAL', `${where} failed or does not answer as it should.`);
  if (code === 'DEADLINE') return make('DEADLINE', `${where} did not answer in time.`);
  return make(code, `${where} answered: ${cut(text, 500, bytesOf)}`);
}

function readTrailer(bytes: Uint8Array | undefined): ErrorDetail | undefined {
  if (bytes === undefined) return undefined;
  try {
    return fromBinary(ErrorDetailSchema, bytes);
  } catch {
    return undefined;
  }
}

/**
 * What a failed call means to its caller: the error its trailer carries, else the status' nearest code. A code this
 * version does not know counts as none.
 */
export function fromStatus(status: number, text: string, trailer: Uint8Array | undefined, peer: Peer): StewardError {
  const detail = readTrailer(trailer);
  if (detail !== undefined && isErrorCode(detail.code)) {
    // No table takes NUL, and this text is stored wherever a failed call is shown.
    return new StewardError(detail.code, detail.message.replaceAll('\0', '\ufffd'), { details: detail.details });
  }
  return ofStatus(status, text, peer);
}

/** The error behind a status that grpc-js sets on its own, before or after a handler has its say. */
export function ofTransport(status: number, text: string): StewardError {
  if (status === Status.RESOURCE_EXHAUSTED && TOO_LARGE.test(text)) {
    return new StewardError(
      'TOO_LARGE',
      `The request is too large (${text}). Send less, or large content by reference.`,
    );
  }
  const code = CODE_OF_STATUS[Status[status] as StatusName] ?? 'INTERNAL';
  return new StewardError(code, text === '' ? `The call ended with ${Status[status] ?? status}.` : text);
}
