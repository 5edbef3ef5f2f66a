import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { expect, test } from '@jest/globals';
import type { ActionRecord } from '#domain/action-record.ts';
import type { JsonValue } from '#domain/json.ts';
import { type GetApprovalResponse, GetApprovalResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { canonicalBytes } from '#platform/identity/action-record.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import { checkApproval } from './approval-record.ts';

const PREVIEW = {
  summary: 'delete task "Fix login"',
  fields: [
    { record: 'task/t_17', field: 'title', before: 'Fix login' },
    { record: 'task/t_17', field: 'tags', before: ['a'], after: null },
  ],
  quantities: { 'rows.deleted': 1 },
};
const WIRE_PREVIEW = {
  summary: 'delete task "Fix login"',
  fields: [
    { record: 'task/t_17', field: 'title', beforeJson: '"Fix login"' },
    { record: 'task/t_17', field: 'tags', beforeJson: '["a"]', afterJson: 'null' },
  ],
  quantities: { 'rows.deleted': 1n },
};

const RECORD: ActionRecord = {
  v: 1,
  kind: 'execute',
  tenant: 'acme',
  run: 'r_1',
  call: '3.0',
  user: 'olga@acme.example',
  catalog: 'projects',
  tool: 'delete_task',
  toolHash: 'a'.repeat(64),
  args: { task_id: 't_17', 10: 'x', 9: 'y' },
  previewHash: digestOf(canonicalJson(PREVIEW as unknown as JsonValue)),
  key: 'r_1/3.0',
  undoOf: null,
};

function answer(change: Record<string, unknown> = {}, bytes: Uint8Array = canonicalBytes(RECORD)): GetApprovalResponse {
  return create(GetApprovalResponseSchema, {
    approval: {
      id: 'apr_1',
      runId: 'r_1',
      callId: '3.0',
      actingUser: 'olga@acme.example',
      catalog: 'projects',
      tool: 'delete_task',
      argsJson: JSON.stringify(RECORD.args),
      digest: createHash('sha256').update(bytes).digest('hex'),
      preview: WIRE_PREVIEW,
      ...change,
    },
    actionRecord: bytes,
  });
}

test('an approval that holds together gives the arguments the digest covers', () => {
  expect(checkApproval(answer()).argsJson).toBe('{"9":"y","10":"x","task_id":"t_17"}');
});

test('an approval that shows anything else than its digest covers is refused', () => {
  for (const change of [
    { digest: 'b'.repeat(64) },
    { tool: 'list_tasks' },
    { catalog: 'messaging' },
    { runId: 'r_2' },
    { callId: '3.1' },
    { actingUser: 'ann@acme.example' },
    { argsJson: '{"task_id":"t_18"}' },
    { argsJson: 'no json' },
    { preview: { ...WIRE_PREVIEW, summary: 'read task' } },
    { preview: { ...WIRE_PREVIEW, quantities: {} } },
    { preview: undefined },
  ]) {
    expect(() => checkApproval(answer(change))).toThrow(expect.objectContaining({ code: 'DIGEST_MISMATCH' }));
  }
});

test('bytes that are not canonical are refused, whatever their digest', () => {
  const text = new TextDecoder().decode(canonicalBytes(RECORD));
  for (const other of [` ${text}`, text.replace('"t_17"', '"\\u0074_17"'), '[]', 'null', '{', '']) {
    expect(() => checkApproval(answer({}, new TextEncoder().encode(other)))).toThrow(
      expect.objectContaining({ code: 'DIGEST_MISMATCH' }),
    );
  }
});

test('a call without a preview is covered too', () => {
  const bytes = canonicalBytes({ ...RECORD, previewHash: null });
  expect(checkApproval(answer({ preview: undefined }, bytes)).approval.id).toBe('apr_1');
  expect(() => checkApproval(answer({}, bytes))).toThrow(/another preview/);
});
