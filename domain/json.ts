/** Plain JSON, as it stands in action records, arguments and results. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/**
 * Whether a parsed value is nested more than `levels` deep. Parsing takes any depth, writing it out again does not: some
 * thousands of brackets end in an error of the engine's own, and databases stop sooner. Never throws.
 */
export function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels <= 0 || Object.values(value).some((child) => isDeeperThan(child, levels - 1));
}

/** Deeper JSON of others' making is not kept: everything that stores, hashes or shows it would have to fail. */
export const DEEPEST_KEPT = 1_000;
