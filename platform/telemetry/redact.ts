import { isStewardError } from '#domain/errors.ts';

/** Characters of one text in a line, of a stack, and of a whole line. */
const LONGEST_TEXT = 2_000;
const LONGEST_STACK = 1_500;
export const LONGEST_LINE = 8_000;
const MOST_CAUSES = 4;
const MOST_ITEMS = 20;

/**
 * The fields that are written: ids, codes, names, counts and times. What has another name is not, so that nobody logs
 * arguments, results, messages or mail by mistake. Add a name here only where its values can be told to anyone who runs
 * Steward.
 */
const TOLD: ReadonlySet<string> = new Set([
  ...['tenant', 'run', 'turn', 'call', 'trace', 'rpc', 'activity', 'approval', 'outbox', 'undo', 'agent', 'model'],
  ...['tool', 'catalog', 'subject', 'code', 'status', 'stopReason', 'answer', 'signal', 'address', 'state', 'kind'],
  ...['ms', 'waitMs', 'attempt', 'left', 'count', 'steps', 'costMicroUsd', 'spans', 'lost', 'unknown'],
  ...['workflowId', 'workflowType', 'activityType', 'taskQueue', 'service', 'pid'],
]);

const HIDDEN = '[not logged]';

/** The fields of a line as they may be written. */
export function tellable(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const told: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (name === 'err') told.err = tellError(value);
    else told[name] = TOLD.has(name) ? tellValue(value) : HIDDEN;
  }
  return told;
}

function tellValue(value: unknown): unknown {
  switch (typeof value) {
    case 'number':
    case 'boolean':
      return value;
    case 'bigint':
      return String(value);
    case 'string':
      return tellText(value);
    default:
      if (value === null) return null;
      if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) {
        return value.slice(0, MOST_ITEMS).map(tellValue);
      }
      return HIDDEN;
  }
}

interface ToldError {
  readonly type: string;
  readonly code?: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: ToldError;
}

/** An error with its code and causes. Never its other properties: drivers keep rows, requests and headers there. */
function tellError(error: unknown, depth = 0): ToldError {
  if (!(error instanceof Error) && !isStewardError(error)) {
    return { type: typeof error, message: tellText(typeof error === 'object' ? HIDDEN : String(error)) };
  }
  const code = (error as { code?: unknown }).code;
  const cause = error.cause;
  // Where causes stand below, the innermost one's stack tells where it began.
  const frames = cause === undefined || cause === null ? framesOf(error.stack) : '';
  return {
    type: error.name,
    ...(typeof code === 'string' || typeof code === 'number' ? { code: tellText(String(code)) } : {}),
    message: tellText(error.message),
    ...(frames === '' ? {} : { stack: frames }),
    ...(cause === undefined || cause === null || depth >= MOST_CAUSES - 1
      ? {}
      : { cause: tellError(cause, depth + 1) }),
  };
}

/** Where it happened, without the message, which the stack begins with. */
function framesOf(stack: string | undefined): string {
  const frames = (stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return frames
    .map((line) => line.trim())
    .join('\n')
    .slice(0, LONGEST_STACK);
}

/**
 * A text without what it quotes: messages of databases, providers and domain code repeat values there. Bodies in JSON
 * and quotations of more than 40 characters go; names stay.
 */
function tellText(text: string): string {
  return withoutBody(text.slice(0, LONGEST_TEXT * 2))
    .replace(/"[^"]{41,}"/g, '"…"')
    .replace(/`[^`]{41,}`/g, '`…`')
    .replace(/(^|[\s(:=])'[^']{41,}'/g, "$1'…'")
    .slice(0, LONGEST_TEXT);
}

function withoutBody(text: string): string {
  const from = text.search(/[{[]/);
  const to = Math.max(text.lastIndexOf('}'), text.lastIndexOf(']')) + 1;
  const quotes = from >= 0 && to > from && text.slice(from, to).includes('"');
  return quotes ? `${text.slice(0, from)}{…}${text.slice(to)}` : text;
}

/** What gives a secret away by its look, wherever it stands: tokens and grants, bearer headers, keys, URL passwords. */
const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*/g, '[token]'],
  [/\b(bearer|basic) +[\w.~+/=-]{8,}/gi, '$1 [token]'],
  [/\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][\w-]{12,}/g, '[key]'],
  [/(\/\/[^/\s:@"]{0,100}):[^/\s@"]{1,200}@/g, '$1:[password]@'],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?/g, '[key]'],
];

const SECRET_NAME = /(_KEY|TOKEN|PASSWORD|SECRET)$/;
const SHORTEST_SECRET = 8;

/** The values of environment variables that are secrets by their name, and of headers that stand in one. */
export function secretsOf(env: Readonly<Record<string, string | undefined>>): string[] {
  const values = Object.entries(env).flatMap(([name, value = '']) => {
    if (SECRET_NAME.test(name)) return [value];
    return name.endsWith('_HEADERS') ? value.split(',').map((header) => header.replace(/^[^=]*=/, '')) : [];
  });
  return values.filter((value) => value.length >= SHORTEST_SECRET);
}

/** Keeps secrets out of a finished line, and its length within bounds; a line that is cut says so and keeps its ids. */
export function guardLine(line: string, secrets: readonly string[]): string {
  let safe = line;
  for (const secret of secrets) safe = safe.replaceAll(secret, '[secret]');
  for (const [look, instead] of SECRETS) safe = safe.replace(look, instead);
  return safe.length <= LONGEST_LINE ? safe : cutLine(safe);
}

const KEPT = ['level', 'time', 'service', 'tenant', 'run', 'turn', 'call', 'trace', 'rpc', 'code', 'msg'] as const;

function cutLine(line: string): string {
  const fields = JSON.parse(line) as Record<string, unknown>;
  const kept = KEPT.filter((name) => name in fields).map((name) => [name, short(fields[name])]);
  return `${JSON.stringify({ ...Object.fromEntries(kept), cut: line.length })}\n`;
}

function short(value: unknown): unknown {
  return typeof value === 'string' ? value.slice(0, 500) : value;
}
