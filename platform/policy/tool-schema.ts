import { createHash } from 'node:crypto';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { StewardError } from '#domain/errors.ts';
import type { JsonObject } from '#domain/json.ts';
import { re2Engine } from './re2.ts';
import { limitFaults } from './schema-limits.ts';

/** Gives everything that is wrong with a value, each with its place; empty where it fits. Never throws. */
export type Validate = (value: unknown) => string[];

const CACHED = 1_000;
const MOST_FAULTS = 20;
const DEEPEST_VALUE = 64;
const MOST_VALUES = 50_000;

/** Said in the schema, not checked: what counts stands in `pattern` and the bounds. */
const FORMATS = ['date-time', 'date', 'time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uri', 'url', 'uuid'];

const cache = new Map<string, Validate>();

/**
 * Compiles a tool's JSON Schema (2020-12, Ajv strict, RE2 patterns), once per content. Bounded in size and cost, so a
 * schema from a catalog cannot hold up the process. Throws AGENT_INVALID listing what is wrong with the schema.
 */
export function compileSchema(schema: JsonObject): Validate {
  const key = createHash('sha256').update(JSON.stringify(schema)).digest('hex');
  const known = cache.get(key);
  if (known !== undefined) {
    cache.delete(key);
    cache.set(key, known);
    return known;
  }
  const made = make(schema);
  if (typeof made !== 'function') {
    throw new StewardError('AGENT_INVALID', `The tool's schema cannot be used: ${made.join('; ')}.`, {
      details: { faults: made },
    });
  }
  cache.set(key, made);
  const oldest = cache.keys().next().value;
  if (cache.size > CACHED && oldest !== undefined) cache.delete(oldest);
  return made;
}

/** What keeps a schema from being used; empty where it can be. `closed`: it must describe an object with known fields. */
export function schemaFaults(schema: unknown, options: { readonly closed: boolean }): string[] {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return ['it is no JSON object'];
  const root = schema as JsonObject;
  const made = make(root);
  if (typeof made !== 'function') return made;
  if (!options.closed) return [];
  const faults: string[] = [];
  if (root.type !== 'object') faults.push('#/type: must be object');
  if (root.additionalProperties !== false)
    faults.push('#/additionalProperties: must be false, so that no field is ignored');
  return faults;
}

function make(schema: JsonObject): Validate | string[] {
  const limits = limitFaults(schema);
  if (limits.length > 0) return limits.slice(0, MOST_FAULTS);
  // One compiler per schema: what one names or defines cannot meet another.
  const ajv = new Ajv2020({
    strict: true,
    allowUnionTypes: true,
    allErrors: true,
    logger: false,
    code: { regExp: re2Engine },
    formats: Object.fromEntries(FORMATS.map((name) => [name, true as const])),
  });
  let validate: ValidateFunction;
  try {
    validate = ajv.compile(schema);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
  return (value) => {
    if (!isBounded(value)) return [`the value is nested over ${DEEPEST_VALUE} deep or has over ${MOST_VALUES} values`];
    if (validate(value) === true) return [];
    const faults = [...new Set((validate.errors ?? []).map(describe))];
    return faults.length > 0 ? faults.slice(0, MOST_FAULTS) : ['the value does not fit the schema'];
  };
}

function isBounded(value: unknown): boolean {
  let values = 0;
  const walk = (at: unknown, depth: number): boolean => {
    values += 1;
    if (depth > DEEPEST_VALUE || values > MOST_VALUES) return false;
    if (typeof at !== 'object' || at === null) return true;
    return Object.values(at).every((child) => walk(child, depth + 1));
  };
  return walk(value, 0);
}

function describe(error: ErrorObject): string {
  const at = error.instancePath === '' ? 'arguments' : error.instancePath;
  const params = error.params as Readonly<Record<string, unknown>>;
  switch (error.keyword) {
    case 'additionalProperties':
      return `${at}: there is no field ${quote(params.additionalProperty)}`;
    case 'required':
      return `${at}: field ${quote(params.missingProperty)} is missing`;
    case 'enum':
      return `${at}: must be one of ${quote(params.allowedValues)}`;
    case 'const':
      return `${at}: must be ${quote(params.allowedValue)}`;
    default:
      return `${at}: ${error.message ?? error.keyword}`;
  }
}

function quote(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
