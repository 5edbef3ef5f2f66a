import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { decisionVerifier } from '#platform/identity/decisions.ts';
import { type CliResult, runCli } from '#test/support/cli.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;
let run: BenchRun;

beforeAll(async () => {
  bench = await guardBench();
  run = await bench.run();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

/** The command as ben, an approver of the run's tenant. */
async function steward(
  args: readonly string[],
  roles: readonly ['approver' | 'auditor'] = ['approver'],
): Promise<CliResult> {
  const token = await bench.keys.issuer.token({ tenant: run.tenant, subject: 'ben@acme', roles }, 600);
  const env = { STEWARD_GUARD_ADDRESS: bench.address, STEWARD_TOKEN: token };
  // A busy machine is not what is tested.
  return await runCli(['approval', ...args, '--timeout', '60s'], { env, timeoutMs: 90_000 });
}

let turn = 0;

async function ask(note: string) {
  turn += 1;
  const { approvalId, digest } = await run.ask({ note_id: note }, turn);
  return { id: approvalId, digest };
}

test('approve shows exactly what is decided, and records the answer under its digest', async () => {
  const { id, digest } = await ask('n1');
  const result = await steward(['approve', id, '--yes', '--reason', 'a duplicate']);
  expect(result.code).toBe(0);
  expect(result.stdout).toContain(`Approval ${id}  open`);
  expect(result.stdout).toContain('    note_id: "n1"\n');
  expect(result.stdout).toContain('      - title: "Greeting"\n');
  expect(result.stdout).toContain('spends rows.deleted 1');
  expect(result.stdout).toContain(`Digest      ${digest}`);
  expect(result.stdout).toMatch(/\nApproved by ben@acme: delete_note in run \S+: a duplicate\n$/);
  const decisions = await run.rows('decisions');
  expect(decisions.find((row) => row.approval_id === id)).toMatchObject({ answer: 'approve', decided_by: 'ben@acme' });
}, 120_000);

test('without a terminal nobody is asked: the digest that was shown decides, or --yes', async () => {
  const { id, digest } = await ask('n2');
  const nobody = await steward(['deny', id]);
  expect(nobody).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('--digest') });
  const other = await steward(['deny', id, '--digest', 'ab'.repeat(32)]);
  expect(other).toMatchObject({ code: 6, stdout: '', stderr: expect.stringContaining(digest) });
  const denied = await steward(['deny', id, '--digest', digest, '--json']);
  expect(denied.code).toBe(0);
  expect(JSON.parse(denied.stdout)).toMatchObject({
    decisionId: expect.any(String),
    approval: { id, state: 'APPROVAL_STATE_DENIED', decidedBy: 'ben@acme' },
  });
}, 120_000);

test('the first answer stays: a second ends with 6, a repeat of the same request id gets it', async () => {
  const { id } = await ask('n3');
  const first = await steward(['approve', id, '--yes', '--request-id', `req-${id}`]);
  const again = await steward(['approve', id, '--yes', '--request-id', `req-${id}`]);
  const late = await steward(['deny', id, '--yes']);
  expect([first.code, again.code]).toEqual([0, 0]);
  expect(late).toMatchObject({ code: 6, stderr: expect.stringMatching(/is not open: approved by ben@acme/) });
}, 120_000);

test('whoever may not decide is refused with 4, and nothing unknown is found', async () => {
  const { id } = await ask('n4');
  const refused = await steward(['approve', id, '--yes'], ['auditor']);
  expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining('steward: ') });
  expect(await steward(['show', 'nothing'])).toMatchObject({ code: 3 });
}, 120_000);

test('open approvals are listed, and one is shown as a document', async () => {
  const { id, digest } = await ask('n5');
  const list = await steward(['list', '--run', run.id]);
  expect(list.code).toBe(0);
  expect(list.stdout).toMatch(new RegExp(`^APPROVAL[\\s\\S]*^${id} +open +delete_note .*delete note n5`, 'm'));
  const shown = await steward(['show', id, '--json']);
  expect(JSON.parse(shown.stdout)).toMatchObject({ approval: { id, digest, argsJson: '{"note_id":"n5"}', tier: 3 } });
  const decided = await steward(['list', '--state', 'denied', '--json']);
  expect(JSON.parse(decided.stdout)).toMatchObject({ approvals: [{ state: 'APPROVAL_STATE_DENIED' }] });
}, 120_000);

test('sign prints the signal and the command that sends it, and records nothing', async () => {
  const { id, digest } = await ask("n'6");
  const result = await steward(['sign', id, '--answer', 'approve', '--reason', "it's fine", '--yes']);
  expect(result.code).toBe(0);
  expect(result.stderr).toContain(`note_id: "n'6"`);
  const [json = '', command = '', ...rest] = result.stdout.trimEnd().split('\n');
  expect(rest).toEqual([]);
  const signal = JSON.parse(json) as { readonly signed: string };
  expect(signal).toMatchObject({ approvalId: id, digest });
  expect(await decisionVerifier(bench.keys.guard.jwks).verify(signal.signed)).toMatchObject({
    approval: id,
    answer: 'approve',
    reason: "it's fine",
    decidedBy: 'ben@acme',
  });
  expect(command).toBe(`temporal workflow signal --workflow-id run/${run.id} --name decideApproval --input '${json}'`);
  expect((await run.rows('decisions')).filter((row) => row.approval_id === id)).toEqual([]);
}, 120_000);
