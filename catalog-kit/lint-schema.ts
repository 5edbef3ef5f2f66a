import { RE2JS } from 're2js';
import { z } from 'zod';
import type { JsonObject, JsonValue } from '#domain/json.ts';

const MAX_STRING = 100_000;
const MAX_ITEMS = 1_000;
const MAX_DEPTH = 8;
const MAX_SCHEMA_BYTES = 65_536;
const FIELD = /^[a-zA-Z][a-zA-Z0-9_]{0,63}$/;

const KINDS: ReadonlySet<string> = new Set([
  'string',
  'number',
  'boolean',
  'null',
  'enum',
  'literal',
  'nullable',
  'optional',
  'array',
  'object',
  'union',
]);

/** What becomes of kinds that JSON Schema cannot say, or says more loosely. */
const LOST: Readonly<Record<string, string>> = {
  pipe: 'transforms and pipes do not survive in JSON Schema; take the value as it is and convert it in execute',
  transform: 'transforms do not survive in JSON Schema; convert in execute',
  default: 'defaults change what is approved; make the field optional and decide in execute',
  prefault: 'defaults change what is approved; make the field optional and decide in execute',
  catch: 'catch would run a call with arguments nobody gave',
  record: 'records are open; use z.strictObject, or an array of pairs',
  any: 'any value at all may not be taken',
  unknown: 'any value at all may not be taken',
  lazy: 'recursive schemas have no depth; use a bounded one',
  intersection: 'intersections are open on both sides; write one z.strictObject',
};

interface Def {
  readonly type: string;
  readonly coerce?: boolean;
  readonly checks?: readonly { readonly _zod: { readonly def: { readonly check: string } } }[];
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly catchall?: z.core.$ZodType;
  readonly element?: z.core.$ZodType;
  readonly innerType?: z.core.$ZodType;
  readonly options?: readonly z.core.$ZodType[];
}

const defOf = (schema: z.core.$ZodType): Def => schema._zod.def as unknown as Def;

/** What one look at a schema found. */
export interface SchemaLint {
  readonly faults: readonly string[];
  /** JSON Schema, draft 2020-12; an empty one where there are faults. */
  readonly json: JsonObject;
}

/**
 * Makes sure that a tool's schema says in JSON Schema exactly what it says in zod, closed and bounded, with patterns
 * that RE2 takes. `bounded` asks for limits on texts and lists too.
 */
export function lintSchema(schema: z.ZodObject, bounded: boolean): SchemaLint {
  const faults: string[] = [];
  lintZod(schema, '', 0, faults);
  if (faults.length > 0) return { faults, json: {} };
  let json: JsonObject;
  try {
    json = JSON.parse(JSON.stringify(z.toJSONSchema(schema, { target: 'draft-2020-12' }))) as JsonObject;
  } catch (error) {
    return { faults: [`has no JSON Schema: ${error instanceof Error ? error.message : error}`], json: {} };
  }
  lintJson(json, '', bounded, faults);
  const bytes = Buffer.byteLength(JSON.stringify(json));
  if (bytes > MAX_SCHEMA_BYTES) faults.push(`has ${bytes} bytes as JSON Schema; at most ${MAX_SCHEMA_BYTES} are taken`);
  return { faults, json };
}

function lintZod(schema: z.core.$ZodType, at: string, depth: number, faults: string[]): void {
  const def = defOf(schema);
  const fault = (what: string): void => void faults.push(`${at === '' ? 'the top' : at}: ${what}`);
  if (depth > MAX_DEPTH) {
    fault(`is nested deeper than ${MAX_DEPTH} levels`);
    return;
  }
  if (!KINDS.has(def.type)) {
    fault(LOST[def.type] ?? `z.${def.type} has no faithful JSON Schema`);
    return;
  }
  if (def.coerce === true) fault('coercion does not survive in JSON Schema; take the value as it is');
  for (const check of def.checks ?? []) {
    const kind = check._zod.def.check;
    if (kind === 'custom') fault('refinements do not survive in JSON Schema; put them into check');
    if (kind === 'overwrite') fault('trim, normalize and case changes are transforms; do them in execute');
  }
  for (const [name, field] of Object.entries(def.shape ?? {})) {
    if (!FIELD.test(name)) fault(`the field name ${JSON.stringify(name)} does not fit ${FIELD.source}`);
    lintZod(field, at === '' ? name : `${at}.${name}`, depth + 1, faults);
  }
  if (def.type === 'object' && (def.catchall === undefined || defOf(def.catchall).type !== 'never')) {
    fault('the object is open; use z.strictObject');
  }
  if (def.element !== undefined) lintZod(def.element, `${at}[]`, depth + 1, faults);
  if (def.innerType !== undefined) lintZod(def.innerType, at, depth, faults);
  for (const option of def.options ?? []) lintZod(option, at, depth + 1, faults);
}

function lintJson(node: JsonObject, at: string, bounded: boolean, faults: string[]): void {
  const fault = (what: string): void => void faults.push(`${at === '' ? 'the top' : at}: ${what}`);
  const listed = node.enum !== undefined || node.const !== undefined;
  if (node.type === 'number' && !listed) fault('numbers must be integers (z.int()): money in its smallest unit');
  if (node.type === 'string' && !listed) lintText(node, bounded, fault);
  if (node.type === 'array' && bounded && !within(node.maxItems, MAX_ITEMS)) {
    fault(`the list needs a limit: .max(n) with n of at most ${MAX_ITEMS}`);
  }
  for (const [name, field] of Object.entries((node.properties ?? {}) as Readonly<Record<string, JsonObject>>)) {
    lintJson(field, at === '' ? name : `${at}.${name}`, bounded, faults);
  }
  if (node.items !== undefined) lintJson(node.items as JsonObject, `${at}[]`, bounded, faults);
  for (const one of [...list(node.anyOf), ...list(node.oneOf)]) lintJson(one, at, bounded, faults);
}

function lintText(node: JsonObject, bounded: boolean, fault: (what: string) => void): void {
  if (bounded && !within(node.maxLength, MAX_STRING)) {
    fault(`the text needs a limit: .max(n) with n of at most ${MAX_STRING}`);
  }
  const patterns = [node.pattern, ...list(node.allOf).map((part) => part.pattern)].filter((one) => one !== undefined);
  if (node.format !== undefined && patterns.length === 0) {
    fault(`the format ${node.format} is checked here and nowhere else; use a pattern`);
  }
  for (const pattern of patterns) {
    try {
      RE2JS.compile(String(pattern));
    } catch {
      fault(`RE2 does not take the pattern ${pattern} (no look-around, no back references, \\x{…} for code points)`);
    }
  }
}

function within(value: JsonValue | undefined, max: number): boolean {
  return typeof value === 'number' && value <= max;
}

function list(value: JsonValue | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? (value as readonly JsonObject[]) : [];
}
