import type { JsonObject, JsonValue } from '#domain/json.ts';
import type { Look } from './look.ts';
import { displayWidth, truncate, visible, visibleLines, wrap } from './text.ts';

const INSIDE_OR_SPACE = /("(?:[^"\\]|\\.)*")|\s+/g;
const PLAIN_KEY = /^[\w.-]+$/;
const SHORT_STRING = 40;

/** The value of a JSON text, or undefined where it is none, or where reading it would lose something of it. */
function readExactly(json: string): JsonValue | undefined {
  try {
    const value = JSON.parse(json) as JsonValue;
    const compact = json.replace(INSIDE_OR_SPACE, (_match, inside: string | undefined) => inside ?? '');
    return JSON.stringify(value) === compact ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fitted(text: string, room: number, indent: string): readonly string[] {
  return wrap(text, room - indent.length).map((line) => indent + line);
}

// A bar before each line keeps content from posing as output of ours; a broken bar marks a line that only wraps.
function block(text: string, look: Look, indent: string): readonly string[] {
  return visibleLines(text).flatMap((line) =>
    wrap(line, look.width - indent.length - 2).map((part, at) => `${indent}${at === 0 ? '│' : '┆'} ${part}`),
  );
}

function valueLines(value: JsonValue, look: Look, indent: string): readonly string[] {
  if (typeof value === 'string' && value.includes('\n')) return block(value, look, indent);
  const compact = visible(JSON.stringify(value));
  if (
    typeof value !== 'object' ||
    value === null ||
    displayWidth(compact) + indent.length <= Math.min(look.width, 100)
  ) {
    return fitted(compact, look.width, indent);
  }
  return visibleLines(JSON.stringify(value, null, 2)).flatMap((line) => fitted(line, look.width, indent));
}

/** `name: value`, the value beside the name where it fits, else below it. */
export function namedValueLines(name: string, value: JsonValue, look: Look, indent: string): readonly string[] {
  const label = `${PLAIN_KEY.test(name) ? name : visible(JSON.stringify(name))}:`;
  const below = valueLines(value, look, `${indent}  `);
  const first = below[0]?.slice(indent.length + 2) ?? '';
  const beside = `${indent}${label} ${first}`;
  const fits = below.length === 1 && !first.startsWith('│') && displayWidth(beside) <= look.width;
  return fits ? [beside] : [`${indent}${label}`, ...below];
}

/**
 * The arguments of a call, whole: one line per argument, nothing cut, nothing hidden. Text that cannot be read as a
 * JSON object without loss is shown as it stands.
 */
export function argumentLines(argsJson: string, look: Look, indent = ''): readonly string[] {
  const value = readExactly(argsJson);
  if (!isObject(value)) return block(argsJson, look, indent);
  const entries = Object.entries(value);
  if (entries.length === 0) return [`${indent}(no arguments)`];
  return entries.flatMap(([name, one]) => namedValueLines(name, one, look, indent));
}

/** A JSON text whole, as a person reads it. */
export function jsonLines(json: string, look: Look, indent = ''): readonly string[] {
  const value = readExactly(json);
  if (value === undefined) return block(json, look, indent);
  if (isObject(value) && Object.keys(value).length > 0) return argumentLines(json, look, indent);
  return valueLines(value, look, indent);
}

function shortValue(value: JsonValue): string {
  const text = JSON.stringify(value);
  if (typeof value !== 'string') return visible(text);
  return visible(value.length > SHORT_STRING ? JSON.stringify(`${value.slice(0, SHORT_STRING)}…`) : text);
}

/** The arguments of a call on one line of at most `width` columns: `task_id="t_17" status="done"`. */
export function shortArguments(argsJson: string, width: number): string {
  const value = readExactly(argsJson);
  if (!isObject(value)) return truncate(visible(argsJson), width);
  const parts = Object.entries(value).map(([name, one]) => `${visible(name)}=${shortValue(one)}`);
  return truncate(parts.join(' '), width);
}

/** A value of a change on one line. */
export function shortJson(json: string, width: number): string {
  return truncate(visible(json), width);
}
