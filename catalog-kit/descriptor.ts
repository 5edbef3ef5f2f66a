import { create, type MessageShape, toBinary, toJson } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import type { DataLabel, EffectClass, Risk } from '#domain/tools.ts';
import {
  EffectClass as ProtoEffect,
  DataLabel as ProtoLabel,
  Risk as ProtoRisk,
  ToolDescriptorSchema,
} from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import type { Tool } from './tool.ts';

export type ProtoDescriptor = MessageShape<typeof ToolDescriptorSchema>;

/** Of a message of 1 MiB, leaving room for what stands around the descriptors. */
const MAX_BYTES = 1_000_000;

const RISKS: Readonly<Record<Risk, ProtoRisk>> = {
  safe: ProtoRisk.SAFE,
  cautious: ProtoRisk.CAUTIOUS,
  destructive: ProtoRisk.DESTRUCTIVE,
  irreversible: ProtoRisk.IRREVERSIBLE,
};

const EFFECTS: Readonly<Record<EffectClass, ProtoEffect>> = {
  none: ProtoEffect.NONE,
  transactional: ProtoEffect.TRANSACTIONAL,
  keyed: ProtoEffect.KEYED,
  unkeyed: ProtoEffect.UNKEYED,
};

const LABELS: Readonly<Record<DataLabel, ProtoLabel>> = {
  reads_untrusted: ProtoLabel.READS_UNTRUSTED,
  reads_private: ProtoLabel.READS_PRIVATE,
  egress: ProtoLabel.EGRESS,
  writes: ProtoLabel.WRITES,
};

/** The tool as DescribeTools gives it, with its hash. */
export function describeTool(tool: Tool): ProtoDescriptor {
  const descriptor = create(ToolDescriptorSchema, {
    name: tool.name,
    version: tool.version,
    description: tool.description,
    inputSchemaJson: canonicalJson(tool.inputSchema),
    outputSchemaJson: canonicalJson(tool.outputSchema),
    risk: RISKS[tool.risk],
    effectClass: EFFECTS[tool.effect],
    hasPreview: tool.run.preview !== undefined,
    hasUndo: tool.run.undo !== undefined,
    hasCheck: tool.run.check !== undefined,
    labels: tool.labels.map((label) => LABELS[label]),
    sensitiveFields: [...tool.sensitiveFields],
    redactedFields: [...tool.redactedFields],
    resourceKeys: [...tool.resourceKeys],
    permissions: [...tool.permissions],
    quantities: [...tool.quantities],
    timeout: durationFromMs(tool.timeoutMs),
  });
  descriptor.hash = descriptorHash(descriptor);
  return descriptor;
}

/**
 * SHA-256 (hex) over the RFC 8785 form of the descriptor's proto3 JSON, its own `hash` left out: what a catalog in any
 * language computes too.
 */
export function descriptorHash(descriptor: ProtoDescriptor): string {
  const { hash: _, ...rest } = toJson(ToolDescriptorSchema, descriptor) as JsonObject;
  return digestOf(canonicalJson(rest as JsonValue));
}

/** SHA-256 (hex) over the sorted tool hashes, one per line. */
export function catalogHash(hashes: readonly string[]): string {
  return digestOf([...hashes].sort().join('\n'));
}

/** A catalog's tools by name with their descriptors. Throws CATALOG_BROKEN where two have one name, or there are too many. */
export function describeCatalog(name: string, tools: readonly Tool[]) {
  const broken = (why: string): StewardError => new StewardError('CATALOG_BROKEN', `The catalog ${name}: ${why}.`);
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) throw broken('its name must be lower-case letters, digits and dashes');
  if (tools.length === 0 || tools.length > 200) throw broken(`it has ${tools.length} tools; 1 to 200 can be served`);
  const byName = new Map(tools.map((tool) => [tool.name, { tool, descriptor: describeTool(tool) }]));
  if (byName.size !== tools.length) throw broken('two of its tools have the same name');
  const bytes = [...byName.values()].reduce(
    (sum, one) => sum + toBinary(ToolDescriptorSchema, one.descriptor).length,
    0,
  );
  if (bytes > MAX_BYTES) throw broken(`its tools' descriptions have ${bytes} bytes; at most ${MAX_BYTES} can be sent`);
  return byName;
}
