import { type MessageShape, toJson } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import { needsPreview, parseQuantity } from '#domain/quantities.ts';
import type { DataLabel, EffectClass, Risk, ToolDescriptor } from '#domain/tools.ts';
import {
  EffectClass as ProtoEffect,
  DataLabel as ProtoLabel,
  Risk as ProtoRisk,
  ToolDescriptorSchema,
} from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import { schemaFaults } from '#platform/policy/tool-schema.ts';

type Described = MessageShape<typeof ToolDescriptorSchema>;

/** As the wire says it; unspecified and unknown ones have no entry. */
export const RISKS: Readonly<Partial<Record<ProtoRisk, Risk>>> = {
  [ProtoRisk.SAFE]: 'safe',
  [ProtoRisk.CAUTIOUS]: 'cautious',
  [ProtoRisk.DESTRUCTIVE]: 'destructive',
  [ProtoRisk.IRREVERSIBLE]: 'irreversible',
};

/** As the wire says it; unspecified and unknown ones have no entry. */
export const EFFECTS: Readonly<Partial<Record<ProtoEffect, EffectClass>>> = {
  [ProtoEffect.NONE]: 'none',
  [ProtoEffect.TRANSACTIONAL]: 'transactional',
  [ProtoEffect.KEYED]: 'keyed',
  [ProtoEffect.UNKEYED]: 'unkeyed',
};

const LABELS: Readonly<Partial<Record<ProtoLabel, DataLabel>>> = {
  [ProtoLabel.READS_UNTRUSTED]: 'reads_untrusted',
  [ProtoLabel.READS_PRIVATE]: 'reads_private',
  [ProtoLabel.EGRESS]: 'egress',
  [ProtoLabel.WRITES]: 'writes',
};

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.:-]{0,99}$/;
const RESOURCE_KEY = /^[a-z_]{1,50}\/\{[A-Za-z0-9_]{1,64}\}$/;
const MOST_NAMES = 50;
const LONGEST_MS = 60_000;

/** A descriptor as it is pinned, or everything that keeps it from being pinned. */
export type ReadDescriptor = { readonly tool: ToolDescriptor } | { readonly faults: readonly string[] };

/** Reads one tool as its catalog describes it. Descriptions and schemas are prompt text, and bounded. */
export function readDescriptor(catalog: string, wire: Described): ReadDescriptor {
  const faults: string[] = [];
  const that = (ok: boolean, fault: string): void => void (ok || faults.push(fault));
  that(wire.version !== '' && wire.version.length <= 50 && isLine(wire.version), 'version must be 1 to 50 characters');
  that(
    wire.description !== '' && wire.description.length <= 4_000 && !wire.description.includes('\0'),
    'description must be 1 to 4,000 characters',
  );
  const risk = RISKS[wire.risk];
  that(risk !== undefined, 'risk is not set');
  const effectClass = EFFECTS[wire.effectClass];
  that(effectClass !== undefined, 'effect_class is not set');
  const labels = wire.labels.flatMap((label) => LABELS[label] ?? []);
  that(labels.length === wire.labels.length, 'labels has an unknown one');
  for (const [field, names] of [
    ['sensitive_fields', wire.sensitiveFields],
    ['redacted_fields', wire.redactedFields],
    ['permissions', wire.permissions],
  ] as const) {
    const fine = names.length <= MOST_NAMES && names.every((name) => NAME.test(name));
    that(fine, `${field} must be at most ${MOST_NAMES} names of letters, digits and _ . : -`);
  }
  that(
    wire.redactedFields.length === 0,
    'redacted_fields must be empty: nothing keeps them from the record of a call yet',
  );
  const { quantities } = wire;
  that(
    quantities.length <= MOST_NAMES && quantities.every((one) => parseQuantity(one) !== null),
    'quantities must be such as refund.cents, rows.deleted=1, payout.cents=amount_cents, emails=count(to)',
  );
  that(wire.hasPreview || !needsPreview(quantities), 'a quantity that only its preview can tell needs a preview');
  const keys = wire.resourceKeys;
  that(
    keys.length <= MOST_NAMES && keys.every((key) => RESOURCE_KEY.test(key)),
    'resource_keys must be templates such as task/{task_id}',
  );
  const timeoutMs = wire.timeout === undefined ? 0 : durationMs(wire.timeout);
  that(timeoutMs >= 1 && timeoutMs <= LONGEST_MS, 'timeout must be more than 0 and at most 60 s');
  if (effectClass !== undefined && risk !== undefined) {
    that((effectClass === 'none') === (risk === 'safe'), 'a tool is safe exactly where its effect_class is NONE');
    that(
      effectClass === 'none' || wire.hasUndo || risk === 'irreversible',
      'a tool with effect needs an undo, or the risk IRREVERSIBLE',
    );
  }
  const inputSchema = readSchema(wire.inputSchemaJson, 'input_schema_json', true, faults);
  const outputSchema = readSchema(wire.outputSchemaJson, 'output_schema_json', false, faults);
  if (faults.length === 0) that(wire.hash === hashOf(wire), 'hash is not the SHA-256 of the rest of the descriptor');
  if (faults.length > 0 || risk === undefined || effectClass === undefined) return { faults };
  return {
    tool: {
      catalog,
      name: wire.name,
      version: wire.version,
      description: wire.description,
      inputSchema,
      outputSchema,
      risk,
      effectClass,
      hasPreview: wire.hasPreview,
      hasUndo: wire.hasUndo,
      hasCheck: wire.hasCheck,
      labels,
      sensitiveFields: wire.sensitiveFields,
      redactedFields: wire.redactedFields,
      resourceKeys: keys,
      permissions: wire.permissions,
      quantities: wire.quantities,
      timeoutMs,
      hash: wire.hash,
    },
  };
}

/** SHA-256 over the canonical JSON of everything but the hash itself, as tool_catalog.proto says it. */
function hashOf(wire: Described): string {
  const { hash: _, ...rest } = toJson(ToolDescriptorSchema, wire) as JsonObject;
  return digestOf(canonicalJson(rest as JsonValue));
}

function readSchema(text: string, field: string, closed: boolean, faults: string[]): JsonObject {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch {
    faults.push(`${field} is no JSON`);
    return {};
  }
  faults.push(...schemaFaults(schema, { closed }).map((fault) => `${field}: ${fault}`));
  return schema as JsonObject;
}

function isLine(text: string): boolean {
  return /^\P{Cc}*$/u.test(text);
}
