import { create } from '@bufbuild/protobuf';
import { expect, test } from '@jest/globals';
import { ChangeSchema } from '#gen/steward/common/v1/change_pb.ts';
import { fromWireChange, parseKept } from './change.ts';

const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

test('JSON that is nested deeper than it can be written out again is refused where it comes in', () => {
  expect(JSON.stringify(parseKept(nested(1_000)))).toBe(nested(1_000));
  expect(() => parseKept(nested(1_001))).toThrow(SyntaxError);
  // Beyond this, not even the engine writes it.
  expect(() => parseKept(nested(300_000))).toThrow(SyntaxError);
  const field = { record: 'task/1', field: 'notes', beforeJson: '', afterJson: nested(100_000) };
  expect(() => fromWireChange(create(ChangeSchema, { summary: 'x', fields: [field] }))).toThrow(SyntaxError);
});
