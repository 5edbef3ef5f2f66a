import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { compileSchema, schemaFaults } from '#platform/policy/tool-schema.ts';
import { messagingTools } from '#services/catalogs/messaging/tools.ts';
import { projectsTools } from '#services/catalogs/projects/tools/index.ts';
import { defineTool } from './define-tool.ts';
import { describeTool, descriptorHash } from './descriptor.ts';
import type { Tool, TransactionalTool } from './tool.ts';

const input = z.strictObject({ task_id: z.string().max(40) });
const output = z.strictObject({ deleted: z.literal(true) });

type Spec = TransactionalTool<unknown, typeof input, typeof output>;

const good: Spec = {
  name: 'delete_task',
  version: '1',
  description: 'Deletes a task.',
  input,
  output,
  effect: 'transactional',
  risk: 'destructive',
  labels: ['writes'],
  resourceKeys: ['task/{task_id}'],
  permissions: ['projects:write'],
  quantities: ['rows.deleted'],
  preview: async () => ({ summary: 'delete', fields: [], quantities: {} }),
  execute: async () => ({ result: { deleted: true }, change: { summary: 'deleted', fields: [], quantities: {} } }),
  undo: async () => ({ summary: 'restored', fields: [], quantities: {} }),
};

const define = (changed: Partial<Record<keyof Spec, unknown>>): Tool => {
  const merged = Object.fromEntries(Object.entries({ ...good, ...changed }).filter(([, value]) => value !== undefined));
  return defineTool(merged as unknown as Spec);
};
const withField = (field: z.ZodType) => define({ input: z.strictObject({ task_id: z.string().max(40), x: field }) });

test('a sound tool is described with a hash that covers everything it says', () => {
  const descriptor = describeTool(define({}));
  expect(descriptor.hash).toMatch(/^[0-9a-f]{64}$/);
  expect(descriptorHash(descriptor)).toBe(descriptor.hash);
  expect(JSON.parse(descriptor.inputSchemaJson)).toEqual({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: { task_id: { type: 'string', maxLength: 40 } },
    required: ['task_id'],
    additionalProperties: false,
  });
  for (const changed of [
    { description: 'Deletes a task!' },
    { version: '2' },
    { timeoutMs: 9_999 },
    { permissions: [] },
    { quantities: [] },
    { resourceKeys: [] },
    { labels: ['writes', 'egress'] },
    { risk: 'cautious' },
    { sensitiveFields: ['task_id'] },
    { redactedFields: ['task_id'] },
    { check: async () => undefined },
    { input: z.strictObject({ task_id: z.string().max(41) }) },
    { output: z.strictObject({ deleted: z.boolean() }) },
  ]) {
    expect(describeTool(define(changed)).hash).not.toBe(descriptor.hash);
  }
  expect(describeTool(define({})).hash).toBe(descriptor.hash);
});

test.each<[string, Partial<Record<keyof Spec, unknown>>, RegExp]>([
  ['effect without undo', { undo: undefined }, /no undo/],
  ['irreversible with undo', { risk: 'irreversible' }, /can only be one of the two/],
  ['destructive without preview', { preview: undefined }, /give it a preview/],
  ['irreversible without preview', { risk: 'irreversible', undo: undefined, preview: undefined }, /give it a preview/],
  ['effect called safe', { risk: 'safe' }, /has an effect, so its risk/],
  ['effect without label', { labels: ['reads_private'] }, /label it writes/],
  ['read called risky', { effect: 'none', undo: undefined, labels: [] }, /risk is safe/],
  ['read labelled writes', { effect: 'none', undo: undefined, risk: 'safe' }, /labelled writes/],
  ['read with undo', { effect: 'none', risk: 'safe', labels: [] }, /nothing to undo/],
  ['name', { name: 'DeleteTask' }, /name does not fit/],
  ['version', { version: '' }, /version/],
  ['no description', { description: ' ' }, /no description/],
  ['long description', { description: 'x'.repeat(4_001) }, /4001 characters/],
  ['broken description', { description: 'a\ud800b' }, /broken characters/],
  ['timeout', { timeoutMs: 60_001 }, /timeoutMs/],
  ['fraction of a timeout', { timeoutMs: 1.5 }, /timeoutMs/],
  ['permission name', { permissions: ['All Of It'] }, /permission/],
  ['quantity name', { quantities: ['Rows!'] }, /quantity/],
  ['twice', { permissions: ['projects:write', 'projects:write'] }, /twice/],
  ['sensitive field', { sensitiveFields: ['recipient'] }, /recipient, which is no field/],
  ['redacted field', { redactedFields: ['secret'] }, /secret, which is no field/],
  ['resource template', { resourceKeys: ['task'] }, /no template/],
  ['resource field', { resourceKeys: ['task/{id}'] }, /needs an input field id/],
  ['open input', { input: z.object({ task_id: z.string().max(40) }) }, /input: the top: the object is open/],
  ['loose output', { output: z.looseObject({}) }, /output: the top: the object is open/],
])('refuses to start: %s', (_, changed, message) => {
  expect(() => define(changed)).toThrow(message);
});

test.each<[string, z.ZodType, RegExp]>([
  ['open inner object', z.object({ a: z.int() }), /x: the object is open/],
  ['open object in a list', z.array(z.object({})).max(3), /x\[\]: the object is open/],
  [
    'refine',
    z
      .string()
      .max(3)
      .refine(() => true),
    /x: refinements/,
  ],
  ['refined object', z.strictObject({}).refine(() => true), /x: refinements/],
  [
    'transform',
    z
      .string()
      .max(3)
      .transform((text) => text),
    /x: transforms/,
  ],
  ['trim', z.string().max(3).trim(), /x: trim/],
  ['coerce', z.coerce.number().int(), /x: coercion/],
  ['default', z.int().default(3), /x: defaults/],
  ['catch', z.int().catch(3), /x: catch/],
  ['record', z.record(z.string(), z.int()), /x: records are open/],
  ['anything', z.unknown(), /x: any value/],
  ['any', z.array(z.any()).max(2), /x\[\]: any value/],
  ['date', z.date(), /x: z.date/],
  ['bigint', z.bigint(), /x: z.bigint/],
  ['unbounded text', z.string(), /x: the text needs a limit/],
  ['unbounded optional text', z.string().optional(), /x: the text needs a limit/],
  ['unbounded text in a union', z.union([z.int(), z.string()]), /x: the text needs a limit/],
  ['huge text', z.string().max(100_001), /x: the text needs a limit/],
  ['unbounded list', z.array(z.int()), /x: the list needs a limit/],
  ['fraction', z.number().min(0).max(1), /x: numbers must be integers/],
  [
    'look-around',
    z
      .string()
      .max(5)
      .regex(/(?=a)a/),
    /x: RE2 does not take/,
  ],
  ['back reference', z.string().max(5).regex(/(a)\1/), /x: RE2 does not take/],
  ['format without pattern', z.url().max(50), /x: the format uri/],
])('refuses to start, input: %s', (_, field, message) => {
  expect(() => withField(field)).toThrow(message);
});

const everyKind = z.strictObject({
  task_id: z.string().max(40),
  a: z.enum(['open', 'done']).optional(),
  b: z.array(z.string().max(10)).min(1).max(5),
  c: z.int().min(0),
  d: z.string().max(10).nullable(),
  e: z.union([z.literal('all'), z.int()]),
  f: z.email().max(254),
  g: z.iso.date().max(10),
  h: z.boolean(),
  i: z
    .string()
    .regex(/^[a-z]+$/)
    .max(8)
    .describe('a word'),
  j: z.strictObject({ k: z.int().max(3) }).optional(),
});

test('plain, bounded fields of every kind mean the same to the tool and to the platform', () => {
  const tool = define({ input: everyKind });
  expect(tool.timeoutMs).toBe(10_000);
  const validate = compileSchema(tool.inputSchema);
  const fits = {
    task_id: 't',
    b: ['x'],
    c: 0,
    d: null,
    e: 'all',
    f: 'dana@northwind.example',
    g: '2026-11-21',
    h: true,
    i: 'word',
    j: { k: 3 },
  };
  const edges: Record<string, unknown>[] = [
    fits,
    { ...fits, e: 5, d: 'x'.repeat(10), a: 'done', b: Array(5).fill('x'.repeat(10)) },
    ...[undefined, null, 1, '', 'x'.repeat(41), ['t']].map((task_id) => ({ ...fits, task_id })),
    ...['shut', null, 1].map((a) => ({ ...fits, a })),
    ...[[], Array(6).fill('x'), ['x'.repeat(11)], [1], 'x', {}].map((b) => ({ ...fits, b })),
    ...[-1, 0.5, '0', 2 ** 53, Number.NaN, null, true].map((c) => ({ ...fits, c })),
    ...['x'.repeat(11), 0, undefined].map((d) => ({ ...fits, d })),
    ...['some', 1.5, null].map((e) => ({ ...fits, e })),
    ...['dana', 'a@b', `${'x'.repeat(260)}@northwind.example`].map((f) => ({ ...fits, f })),
    ...['2026-02-30', '2026-1-1', '20261121'].map((g) => ({ ...fits, g })),
    ...['true', 0, null].map((h) => ({ ...fits, h })),
    ...['Word', 'a1', '', 'abcdefghi', 'word\n'].map((i) => ({ ...fits, i })),
    ...[{}, { k: 4 }, { k: 1, l: 1 }, null].map((j) => ({ ...fits, j })),
    { ...fits, unknown: 1 },
    { ...fits, __proto__x: 1 },
  ];
  for (const args of edges) {
    const plain = JSON.parse(JSON.stringify(args)) as Record<string, unknown>;
    expect([plain, validate(plain).length === 0]).toEqual([plain, tool.input.safeParse(plain).success]);
  }
});

test('the platform takes the tools that come with Steward', () => {
  const mailer = { send: () => Promise.reject(new Error('never sent')) };
  for (const tool of [...projectsTools, ...messagingTools(mailer, 'steward.example')]) {
    expect([tool.name, ...schemaFaults(tool.inputSchema, { closed: true })]).toEqual([tool.name]);
    expect([tool.name, ...schemaFaults(tool.outputSchema, { closed: true })]).toEqual([tool.name]);
  }
});

test('an effect outside of the database needs a bounded answer', () => {
  const far = { effect: 'keyed', risk: 'irreversible', undo: undefined };
  expect(() => define({ ...far, output: z.strictObject({ text: z.string() }) })).toThrow(
    /output: text: the text needs/,
  );
  define({ ...far, output: z.strictObject({ text: z.string().max(80) }) });
  define({ output: z.strictObject({ text: z.string() }) });
});
