import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { JsonObject } from '#domain/json.ts';
import { compileSchema, schemaFaults } from './tool-schema.ts';

const closed = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...more,
});

test('every fault of a value is named with its place', () => {
  const validate = compileSchema(
    closed(
      {
        task_id: { type: 'string', pattern: '^t_[0-9]+$' },
        status: { enum: ['open', 'done'] },
        count: { type: 'integer' },
      },
      { required: ['task_id', 'status'] },
    ),
  );
  expect(validate({ task_id: 't_1', status: 'done' })).toEqual([]);
  expect(validate({ task_id: 'x', count: 1.5, colour: 'red' }).toSorted()).toEqual([
    '/count: must be integer',
    '/task_id: must match pattern "^t_[0-9]+$"',
    'arguments: field status is missing',
    'arguments: there is no field colour',
  ]);
  expect(validate({ task_id: 't_1', status: 'lost' })).toEqual(['/status: must be one of ["open","done"]']);
  for (const value of [null, 'text', 7, [], undefined]) expect(validate(value)).toEqual(['arguments: must be object']);
});

test('two patterns of one schema are two patterns', () => {
  const validate = compileSchema(
    closed({ a: { type: 'string', pattern: '^a+$' }, b: { type: 'string', pattern: '^b+$' } }),
  );
  expect(validate({ a: 'aa', b: 'bb' })).toEqual([]);
  expect(validate({ a: 'bb' })).toHaveLength(1);
  expect(validate({ b: 'aa' })).toHaveLength(1);
});

test('a pattern that takes exponential time elsewhere takes none here', () => {
  const validate = compileSchema(closed({ a: { type: 'string', pattern: '^(a+)+$' } }));
  const started = performance.now();
  expect(validate({ a: `${'a'.repeat(10_000)}!` })).toHaveLength(1);
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('schemas that could hold up or mislead the process are refused', () => {
  const nested = (depth: number): JsonObject => (depth === 0 ? {} : { type: 'array', items: nested(depth - 1) });
  const doubling: JsonObject = Object.fromEntries(
    Array.from({ length: 30 }, (_, i) => [
      `d${i}`,
      { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] },
    ]),
  );
  const cases: readonly (readonly [JsonObject, RegExp])[] = [
    [closed({ a: nested(40) }), /nested more than/],
    [closed({ a: { type: 'string', description: 'x'.repeat(70_000) } }), /bytes/],
    [closed({ a: { $ref: '#/$defs/d0' } }, { $defs: { ...doubling, d30: { type: 'string' } } }), /unfold/],
    [closed({ a: { $ref: '#/$defs/a' } }, { $defs: { a: { type: 'array', items: { $ref: '#/$defs/a' } } } }), /circle/],
    [closed({ a: { $ref: 'https://example.com/schema.json' } }), /only references/],
    [closed({ a: { $ref: '#/$defs/__proto__' } }, { $defs: {} }), /only references/],
    [closed({ a: { type: 'string', pattern: '(?=x)x' } }), /unsupported Perl syntax/],
    [closed({ a: { type: 'string', pattern: 'a{0,1000}'.repeat(20) } }), /too many steps/],
    [closed({ a: { type: 'array', uniqueItems: true, items: {} } }), /maxItems/],
    [closed({}, { $async: true }), /asynchronous/],
    [closed({}, { $id: 'https://example.com/x' }), /\$id is not allowed/],
    [closed({ a: { type: 'string', pattren: 'x' } }), /unknown keyword/],
    [closed({ a: { type: 'string', format: 'phone' } }), /unknown format/],
    [{ type: 'object', properties: {} }, /additionalProperties/],
    [{ type: 'string' }, /must be object/],
  ];
  for (const [schema, why] of cases) expect(schemaFaults(schema, { closed: true }).join('\n')).toMatch(why);
  for (const junk of [null, [], 'x', 1]) expect(schemaFaults(junk, { closed: true })).toEqual(['it is no JSON object']);
});

test('names that are keywords elsewhere are names', () => {
  const schema = closed({ pattern: { type: 'string' }, $id: { type: 'string' }, uniqueItems: { const: true } });
  expect(schemaFaults(schema, { closed: true })).toEqual([]);
  expect(compileSchema(schema)({ pattern: '(', $id: 'x', uniqueItems: true })).toEqual([]);
});

test('values nested too deep or with too many parts are refused, not walked', () => {
  const validate = compileSchema(closed({ a: {} }));
  let deep: unknown = 1;
  for (let i = 0; i < 100_000; i += 1) deep = [deep];
  expect(validate({ a: deep })).toEqual([expect.stringMatching(/nested over 64/)]);
  expect(validate({ a: Array.from({ length: 60_000 }, () => 1) })).toHaveLength(1);
});

test('takes what zod writes', () => {
  const schema = z.toJSONSchema(
    z.strictObject({
      to: z.email(),
      when: z.iso.datetime().optional(),
      id: z.uuid().optional(),
      tags: z.array(z.enum(['a', 'b'])).max(3),
      note: z.string().max(5).nullable(),
      choice: z
        .discriminatedUnion('k', [
          z.strictObject({ k: z.literal('a') }),
          z.strictObject({ k: z.literal('b'), n: z.int() }),
        ])
        .optional(),
      page: z.int().min(1).default(1),
    }),
    { io: 'input' },
  ) as JsonObject;
  expect(schemaFaults(schema, { closed: true })).toEqual([]);
  const validate = compileSchema(schema);
  expect(validate({ to: 'a@b.example', tags: ['a'], note: null, choice: { k: 'b', n: 1 } })).toEqual([]);
  expect(validate({ to: 'nobody', tags: [], note: null })).toHaveLength(1);
});
