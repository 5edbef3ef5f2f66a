import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, test } from '@jest/globals';
import { ApprovalSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { approvalLines, approvalTable } from './approval.ts';
import { type Look, PLAIN } from './look.ts';

const NOW = Date.UTC(2026, 10, 20, 12, 0, 0);
const look: Look = { paint: PLAIN, width: 90, now: NOW, timeZone: 'UTC' };

const approval = create(ApprovalSchema, {
  id: 'apr_1',
  runId: 'r_1',
  callId: '3.0',
  agent: 'close-out',
  actingUser: 'olga@acme.example',
  catalog: 'messaging',
  tool: 'send_email',
  argsJson: '{"body":"Dear A,\\nbye","to":["a@b.example"]}',
  digest: 'ab'.repeat(32),
  preview: {
    summary: 'send 1 e-mail',
    fields: [{ record: 'email/new', field: 'body', afterJson: '"Dear A,\\nbye"' }],
    quantities: { emails: 1n },
  },
  tier: 3,
  why: ['risk.irreversible: send_email cannot be undone'],
  state: ApprovalState.OPEN,
  createdAt: timestampFromMs(NOW - 60_000),
  expiresAt: timestampFromMs(NOW + 3_600_000),
  userMayConfirm: true,
});

test('an approval shows whole what is decided', () => {
  expect(approvalLines(approval, look)).toEqual([
    'Approval apr_1  open',
    '  Run    r_1, call 3.0',
    '  Agent  close-out for olga@acme.example',
    '  Tool   send_email of messaging',
    '  Arguments, exactly as it will run',
    '    body:',
    '      │ Dear A,',
    '      │ bye',
    '    to: ["a@b.example"]',
    '  What it would change',
    '    send 1 e-mail',
    '    email/new',
    '      + body:',
    '      +   │ Dear A,',
    '      +   │ bye',
    '    spends emails 1',
    '  Why         risk.irreversible: send_email cannot be undone',
    '  Tier        3, hard: one person, this exact call',
    '  Who         an approver, or olga@acme.example',
    '  Asked       2026-11-20 11:59:00 (1m 00s ago)',
    '  Open until  2026-11-20 13:00:00 (in 1h 00m)',
    `  Digest      ${'ab'.repeat(32)}`,
  ]);
});

test('a decided approval says who, when and why; a missing preview says why', () => {
  const lines = approvalLines(
    create(ApprovalSchema, {
      ...approval,
      $typeName: undefined,
      state: ApprovalState.DENIED,
      decidedBy: 'ann@acme.example',
      decidedAt: timestampFromMs(NOW),
      reason: 'wrong client',
      preview: undefined,
      previewError: 'the catalog was down',
    } as never),
    look,
  );
  expect(lines).toContain('    no preview: the catalog was down');
  expect(lines).toContain('  Decided  by ann@acme.example, 2026-11-20 12:00:00 (now)');
  expect(lines).toContain('  Reason   wrong client');
  expect(lines.join('\n')).not.toContain('Open until');
});

test('the list fits the terminal', () => {
  const lines = approvalTable([approval, approval], { ...look, width: 70 });
  expect(lines).toHaveLength(3);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(70);
});
