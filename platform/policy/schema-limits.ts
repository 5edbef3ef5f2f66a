import type { JsonObject, JsonValue } from '#domain/json.ts';

/** What a schema may cost at most, so that neither compiling it nor validating with it can hold up a process. */
export const SCHEMA_LIMITS = {
  /** Of its JSON text. */
  bytes: 65_536,
  depth: 32,
  /** Values after every reference is unfolded. */
  unfolded: 20_000,
  patterns: 100,
  /** Comparing all pairs takes quadratic time. */
  uniqueItems: 1_000,
} as const;

const REFUSED: Readonly<Record<string, string>> = {
  $async: 'makes validation asynchronous',
  $data: 'reads bounds from the data',
  $id: 'names the schema for others',
  $anchor: 'is not resolved; write #/$defs/<name>',
  $dynamicRef: 'is not resolved; write #/$defs/<name>',
  $dynamicAnchor: 'is not resolved; write #/$defs/<name>',
  $recursiveRef: 'is not resolved; write #/$defs/<name>',
  $recursiveAnchor: 'is not resolved; write #/$defs/<name>',
  $vocabulary: 'changes what keywords mean',
};

/** Keywords whose value is a map of names to schemas: their keys are names, not keywords. */
const MAPS = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']);
/** Keywords whose value is plain data. */
const DATA = new Set(['const', 'enum', 'default', 'examples']);

/** Everything about a schema that is refused before it is handed to the compiler, each with its place. */
export function limitFaults(schema: JsonObject): string[] {
  if (depthOf(schema, 0) > SCHEMA_LIMITS.depth) return [`the schema is nested more than ${SCHEMA_LIMITS.depth} deep`];
  const bytes = Buffer.byteLength(JSON.stringify(schema));
  if (bytes > SCHEMA_LIMITS.bytes) return [`the schema has ${bytes} bytes; at most ${SCHEMA_LIMITS.bytes} are taken`];
  const check = new Check(schema);
  check.schema(schema, '#');
  check.unfold();
  return check.faults;
}

function depthOf(value: JsonValue, depth: number): number {
  if (depth > SCHEMA_LIMITS.depth || typeof value !== 'object' || value === null) return depth;
  return Object.values(value).reduce<number>((most, child) => Math.max(most, depthOf(child, depth + 1)), depth);
}

class Check {
  readonly faults: string[] = [];
  readonly #root: JsonObject;
  #patterns = 0;

  constructor(root: JsonObject) {
    this.#root = root;
  }

  schema(schema: JsonValue, at: string): void {
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return;
    for (const [keyword, value] of Object.entries(schema)) this.#keyword(schema as JsonObject, keyword, value, at);
  }

  #keyword(schema: JsonObject, keyword: string, value: JsonValue, at: string): void {
    const here = `${at}/${keyword}`;
    const refused = Object.hasOwn(REFUSED, keyword) ? REFUSED[keyword] : undefined;
    if (refused !== undefined) this.faults.push(`${here}: ${keyword} is not allowed, it ${refused}`);
    if (keyword === 'pattern') this.#patterns += 1;
    if (keyword === 'patternProperties') this.#patterns += Object.keys(value ?? {}).length;
    if (this.#patterns > SCHEMA_LIMITS.patterns)
      this.faults.push(`${here}: more than ${SCHEMA_LIMITS.patterns} patterns`);
    if (keyword === 'uniqueItems' && value === true && !(Number(schema.maxItems) <= SCHEMA_LIMITS.uniqueItems)) {
      this.faults.push(`${here}: needs a maxItems of at most ${SCHEMA_LIMITS.uniqueItems} beside it`);
    }
    if (keyword === '$ref' && this.#target(value) === undefined) {
      this.faults.push(`${here}: only references to #/$defs/<name> of the same schema are followed`);
    }
    if (DATA.has(keyword)) return;
    if (MAPS.has(keyword) && typeof value === 'object' && value !== null) {
      for (const [name, child] of Object.entries(value)) this.schema(child, `${here}/${name}`);
    } else if (Array.isArray(value)) {
      for (const [index, child] of value.entries()) this.schema(child, `${here}/${index}`);
    } else this.schema(value, here);
  }

  #target(ref: JsonValue | undefined): JsonValue | undefined {
    const name = typeof ref === 'string' ? /^#\/(\$defs|definitions)\/([A-Za-z0-9_.-]{1,100})$/.exec(ref) : null;
    const definitions = name ? this.#root[name[1] as string] : undefined;
    if (!name || typeof definitions !== 'object' || definitions === null) return undefined;
    return Object.hasOwn(definitions, name[2] as string) ? (definitions as JsonObject)[name[2] as string] : undefined;
  }

  /** Alternatives that refer to alternatives that refer … double the work at every step; a circle never ends. */
  unfold(): void {
    if (this.faults.length > 0) return;
    const sizes = new Map<JsonValue, number>();
    const open = new Set<JsonValue>();
    const size = (value: JsonValue): number => {
      if (typeof value !== 'object' || value === null) return 1;
      const known = sizes.get(value);
      if (known !== undefined) return known;
      if (open.has(value)) return Number.POSITIVE_INFINITY;
      open.add(value);
      let sum = 1;
      for (const child of Object.values(value)) sum += size(child);
      const ref = Array.isArray(value) ? undefined : (value as JsonObject).$ref;
      const target = typeof ref === 'string' ? this.#target(ref) : undefined;
      if (target !== undefined) sum += size(target);
      open.delete(value);
      sizes.set(value, sum);
      return sum;
    };
    const sum = size(this.#root);
    if (sum <= SCHEMA_LIMITS.unfolded) return;
    this.faults.push(
      Number.isFinite(sum)
        ? `#: its references unfold to ${sum} values; at most ${SCHEMA_LIMITS.unfolded} are taken`
        : '#: its references go in a circle; write it without recursion',
    );
  }
}
