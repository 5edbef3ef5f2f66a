import { create } from '@bufbuild/protobuf';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { GetRunResponseSchema, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { documentText, toDocument } from './document.ts';

test('a message keeps its shape: fields at their default value are there too', () => {
  const answer = create(GetRunResponseSchema, { run: { id: 'r_1', status: RunStatus.RUNNING } });
  expect(toDocument(GetRunResponseSchema, answer)).toMatchObject({
    run: { id: 'r_1', status: 'RUN_STATUS_RUNNING', stopReason: '', toolCalls: 0, labels: {}, head: '0' },
    effects: [],
  });
});

test('JSON is safe on a terminal and still the same value', () => {
  expect(documentText({ a: '\u009b31m\u202E\u{E0041}\u007f' }, 'line')).toBe(
    '{"a":"\\u009b31m\\u202e\\udb40\\udc41\\u007f"}',
  );
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = documentText(value, 'line');
      expect(text).not.toMatch(/[\p{Cc}\u202A-\u202E]/u);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});
