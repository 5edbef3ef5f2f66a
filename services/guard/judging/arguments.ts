import { isStewardError } from '#domain/errors.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import { canonicalJson } from '#platform/identity/canonical-json.ts';
import { plainText } from '../plain-text.ts';

export type ReadArguments =
  | { readonly args: JsonObject; readonly faults?: undefined }
  /** One line each, in words the model can act on. `args` where the text was an object all the same. */
  | { readonly args?: JsonObject; readonly faults: readonly string[] };

const NUL = String.fromCharCode(0);

/**
 * Reads the arguments a model proposed. Anything but a JSON object with one faithful spelling is a fault: integers
 * beyond 2^53, half surrogate pairs, NUL characters, more than 64 levels.
 */
export function readArguments(call: { readonly argsJson: string; readonly malformed: string }): ReadArguments {
  if (call.malformed !== '' || call.argsJson === '') return { faults: [whyNoObject(call.malformed)] };
  let value: unknown;
  try {
    value = JSON.parse(call.argsJson);
  } catch {
    return { faults: [whyNoObject(call.argsJson)] };
  }
  if (!isObject(value)) return { faults: [whyNoObject(call.argsJson)] };
  try {
    canonicalJson(value);
  } catch (error) {
    if (!isStewardError(error)) throw error;
    return { faults: [plainText(error.message, 500)] };
  }
  if (holdsNul(value)) return { args: value, faults: ['the arguments hold a NUL character; leave it out'] };
  return { args: value };
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function whyNoObject(text: string): string {
  if (text.trim() === '') return 'the arguments are missing; send a JSON object';
  try {
    const value: unknown = JSON.parse(text);
    const what = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
    return `the arguments are ${what}; send a JSON object`;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `the arguments are no JSON (${plainText(why, 200)}); send a JSON object`;
  }
}

/** Postgres has no place for NUL in text, and nothing a person reads shows it. Depth is bounded by the caller. */
function holdsNul(value: JsonValue): boolean {
  if (typeof value === 'string') return value.includes(NUL);
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, inner]) => key.includes(NUL) || holdsNul(inner));
}
