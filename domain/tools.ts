import type { JsonObject, JsonValue } from './json.ts';

export type Risk = 'safe' | 'cautious' | 'destructive' | 'irreversible';
export type EffectClass = 'none' | 'transactional' | 'keyed' | 'unkeyed';
export type DataLabel = 'reads_untrusted' | 'reads_private' | 'egress' | 'writes';

/** A tool as its catalog describes it and as an agent version pins it. */
export interface ToolDescriptor {
  readonly catalog: string;
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly inputSchema: JsonObject;
  readonly outputSchema: JsonObject;
  readonly risk: Risk;
  readonly effectClass: EffectClass;
  readonly hasPreview: boolean;
  readonly hasUndo: boolean;
  readonly hasCheck: boolean;
  readonly labels: readonly DataLabel[];
  readonly sensitiveFields: readonly string[];
  readonly redactedFields: readonly string[];
  /** Templates over the arguments: `task/{task_id}`. */
  readonly resourceKeys: readonly string[];
  readonly permissions: readonly string[];
  readonly quantities: readonly string[];
  readonly timeoutMs: number;
  /** SHA-256 (hex) of all of the above, as the catalog gives it. */
  readonly hash: string;
}

/** One field of one record before and after. Values are JSON; undefined sides are absent records or fields. */
export interface FieldChange {
  readonly record: string;
  readonly field: string;
  readonly before?: JsonValue;
  readonly after?: JsonValue;
}

/** What an effect would change, or has changed. */
export interface Change {
  readonly summary: string;
  readonly fields: readonly FieldChange[];
  /** Spent quantities by name with unit: `emails`, `rows.deleted`, `refund.cents`. Integers. */
  readonly quantities: Readonly<Record<string, number>>;
}

/**
 * The resource keys of a call: its tool's templates filled from its arguments. A template whose field is missing or no
 * string or integer gives no key; an array of strings gives one key each. Whole and all of them: what a run may touch is
 * told by these.
 */
export function resourceKeysOf(templates: readonly string[], args: JsonObject): string[] {
  const keys = new Set<string>();
  for (const template of templates) {
    const match = /^([a-z_]{1,50})\/\{([A-Za-z0-9_]{1,64})\}$/.exec(template);
    if (!match) continue;
    const value = Object.hasOwn(args, match[2] as string) ? args[match[2] as string] : undefined;
    for (const one of Array.isArray(value) ? value : [value]) {
      if (typeof one === 'string' || (typeof one === 'number' && Number.isSafeInteger(one))) {
        keys.add(`${match[1]}/${one}`);
      }
    }
  }
  return [...keys];
}

/** Of these keys what is stored, shown, and orders the calls of a turn: 50 at most, each cut at 200 characters. */
export function keptKeys(keys: readonly string[]): string[] {
  return keys.slice(0, 50).map((key) => key.slice(0, 200).toWellFormed());
}

/**
 * Whether a run narrowed to `resources` may touch `keys`. Only kinds that the narrowing names are restricted: with
 * `project/apollo` allowed, `project/gemini` is refused and `task/t_1` is left to the catalog, which knows its project.
 */
export function withinResources(resources: readonly string[], keys: readonly string[]): boolean {
  const kinds = new Set(resources.map((resource) => resource.slice(0, resource.indexOf('/'))));
  return keys.every((key) => !kinds.has(key.slice(0, key.indexOf('/'))) || resources.includes(key));
}

/** Whether a tool changes anything anywhere. */
export function hasEffect(tool: Pick<ToolDescriptor, 'effectClass'>): boolean {
  return tool.effectClass !== 'none';
}
