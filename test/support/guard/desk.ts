import { z } from 'zod';
import { defineTool } from '#catalog-kit/define-tool.ts';
import { forbid, refuse } from '#catalog-kit/refusal.ts';
import type { Tool } from '#catalog-kit/tool.ts';
import type { JsonObject } from '#domain/json.ts';
import type { Change, DataLabel, EffectClass, Risk, ToolDescriptor } from '#domain/tools.ts';
import {
  type ToolDescriptor as WireDescriptor,
  EffectClass as WireEffect,
  DataLabel as WireLabel,
  Risk as WireRisk,
} from '#gen/steward/catalog/v1/tool_catalog_pb.ts';

const id = z.string().min(1).max(200);
const done = z.strictObject({ note_id: z.string().max(200) });
const change = (summary: string): Change => ({ summary, fields: [], quantities: {} });

/** The tools of a catalog named desk: one of each risk. `version` changes their hashes. */
export function deskTools(version = '1'): Tool[] {
  return [
    defineTool({
      name: 'read_note',
      version,
      description: 'Reads a note.',
      effect: 'none',
      risk: 'safe',
      input: z.strictObject({ note_id: id }),
      output: done,
      resourceKeys: ['note/{note_id}'],
      execute: async (_ctx, args) => args,
    }),
    defineTool({
      name: 'write_note',
      version,
      description: 'Writes a note.',
      effect: 'transactional',
      risk: 'cautious',
      labels: ['writes'],
      input: z.strictObject({
        note_id: id,
        folder: id.optional(),
        text: z.string().max(1_000),
        stars: z.int().min(0).max(5).optional(),
      }),
      output: done,
      resourceKeys: ['note/{note_id}', 'folder/{folder}'],
      execute: async (_ctx, { note_id }) => ({ result: { note_id }, change: change(`write ${note_id}`) }),
      undo: async () => change('unwrite'),
    }),
    defineTool({
      name: 'pay_out',
      version,
      description: 'Pays out.',
      effect: 'transactional',
      risk: 'cautious',
      labels: ['writes'],
      input: z.strictObject({ cents: z.int().min(0).max(1_000_000) }),
      output: z.strictObject({ paid: z.int() }),
      quantities: ['payout.cents=cents'],
      execute: async (_ctx, { cents }) => ({
        result: { paid: cents },
        change: { summary: `pay ${cents}`, fields: [], quantities: { 'payout.cents': cents } },
      }),
      undo: async () => change('take back'),
    }),
    defineTool({
      name: 'delete_note',
      version,
      description: 'Deletes a note.',
      effect: 'transactional',
      risk: 'destructive',
      labels: ['writes'],
      input: z.strictObject({ note_id: id }),
      output: done,
      resourceKeys: ['note/{note_id}'],
      quantities: ['rows.deleted=1'],
      preview: async (_ctx, { note_id }) => {
        if (note_id.startsWith('missing')) throw refuse('NOTE_NOT_FOUND', `There is no note ${note_id}.`);
        if (note_id.startsWith('secret')) throw forbid('NOT_PERMITTED', 'Not your note.');
        if (note_id.startsWith('broken')) throw new Error('out of cheese');
        const text = note_id.startsWith('long') ? 'x'.repeat(300_000) : 'Hello';
        return {
          summary: `delete note ${note_id}`,
          fields: [
            { record: `note/${note_id}`, field: 'title', before: 'Greeting' },
            { record: `note/${note_id}`, field: 'text', before: text },
          ],
          quantities: { 'rows.deleted': 1 },
        };
      },
      execute: async (_ctx, { note_id }) => ({ result: { note_id }, change: change(`delete ${note_id}`) }),
      undo: async () => change('undelete'),
    }),
    defineTool({
      name: 'send_note',
      version,
      description: 'Sends a note.',
      effect: 'keyed',
      risk: 'irreversible',
      labels: ['egress'],
      sensitiveFields: ['to'],
      input: z.strictObject({ note_id: id, to: z.string().max(200) }),
      output: done,
      preview: async (_ctx, { note_id, to }) => change(`send ${note_id} to ${to}`),
      execute: async (_ctx, { note_id }) => ({ result: { note_id }, change: change(`send ${note_id}`) }),
    }),
  ];
}

const RISKS: Partial<Record<WireRisk, Risk>> = {
  [WireRisk.SAFE]: 'safe',
  [WireRisk.CAUTIOUS]: 'cautious',
  [WireRisk.DESTRUCTIVE]: 'destructive',
  [WireRisk.IRREVERSIBLE]: 'irreversible',
};
const EFFECTS: Partial<Record<WireEffect, EffectClass>> = {
  [WireEffect.NONE]: 'none',
  [WireEffect.TRANSACTIONAL]: 'transactional',
  [WireEffect.KEYED]: 'keyed',
  [WireEffect.UNKEYED]: 'unkeyed',
};
const LABELS: Partial<Record<WireLabel, DataLabel>> = {
  [WireLabel.READS_UNTRUSTED]: 'reads_untrusted',
  [WireLabel.READS_PRIVATE]: 'reads_private',
  [WireLabel.EGRESS]: 'egress',
  [WireLabel.WRITES]: 'writes',
};

/** A described tool as an agent version pins it. */
export function pinOf(catalog: string, wire: WireDescriptor): ToolDescriptor {
  return {
    catalog,
    name: wire.name,
    version: wire.version,
    description: wire.description,
    inputSchema: JSON.parse(wire.inputSchemaJson) as JsonObject,
    outputSchema: JSON.parse(wire.outputSchemaJson) as JsonObject,
    risk: RISKS[wire.risk] ?? 'irreversible',
    effectClass: EFFECTS[wire.effectClass] ?? 'unkeyed',
    hasPreview: wire.hasPreview,
    hasUndo: wire.hasUndo,
    hasCheck: wire.hasCheck,
    labels: wire.labels.flatMap((label) => LABELS[label] ?? []),
    sensitiveFields: wire.sensitiveFields,
    redactedFields: wire.redactedFields,
    resourceKeys: wire.resourceKeys,
    permissions: wire.permissions,
    quantities: wire.quantities,
    timeoutMs: Number(wire.timeout?.seconds ?? 0n) * 1_000 + (wire.timeout?.nanos ?? 0) / 1e6,
    hash: wire.hash,
  };
}
