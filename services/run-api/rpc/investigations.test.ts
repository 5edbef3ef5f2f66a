import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { InvestigationService } from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;
const open: { close(): void }[] = [];

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(async () => {
  for (const connection of open) connection.close();
  await bench.stop();
});

function as(
  tenant: string,
  subject = 'olga@acme',
  roles: readonly Role[] = ['operator'],
): Client<typeof InvestigationService> {
  const token = () => bench.issuer.token({ tenant, subject, roles }, 600);
  const connection = connect(InvestigationService, { address: bench.address, token });
  open.push(connection);
  return connection.client;
}

async function queued(tenant: string, reason: string, minutesAgo = 0): Promise<string> {
  const run = await bench.database.run(tenant);
  await bench.database.query(
    `insert into steward.investigations (tenant, run_id, reasons, evidence, opened_at)
     values ($1, $2, array[$3], $4, now() - $5 * interval '1 minute')`,
    [tenant, run, reason, JSON.stringify([{ kind: reason, text: `because of ${reason}` }]), minutesAgo],
  );
  return run;
}

test('the queue is listed newest first, in pages, by state, reason and person', async () => {
  const tenant = await bench.tenant();
  const runs: string[] = [];
  for (const [at, reason] of ['sample', 'capped', 'anomaly'].entries())
    runs.unshift(await queued(tenant, reason, 3 - at));
  const client = as(tenant);
  const first = await client.listInvestigations({ pageSize: 2 });
  const second = await client.listInvestigations({ pageSize: 2, pageToken: first.nextPageToken });
  expect([...first.investigations, ...second.investigations].map(({ runId }) => runId)).toEqual(runs);
  expect(second.nextPageToken).toBe('');
  expect(first.investigations[0]).toMatchObject({
    reasons: ['anomaly'],
    evidence: ['because of anomaly'],
    state: 'open',
  });

  await client.assignInvestigation({ runId: runs[1] as string, assignee: 'ben@acme' });
  const bens = await client.listInvestigations({ assignee: 'ben@acme' });
  expect(bens.investigations.map(({ runId }) => runId)).toEqual([runs[1]]);
  const capped = await client.listInvestigations({ reason: 'capped', state: 'open' });
  expect(capped.investigations.map(({ runId }) => runId)).toEqual([runs[1]]);
  expect((await stewardErrorOf(client.listInvestigations({ reason: 'odd' }))).message).toContain(
    'reason must be one of',
  );
});

test('it is worked on: notes in order, a finding that stays, and every act in the audit log', async () => {
  const tenant = await bench.tenant();
  const runId = await queued(tenant, 'anomaly');
  const [olga, auditor] = [as(tenant), as(tenant, 'aud@acme', ['auditor'])];
  await Promise.all(['a', 'b', 'c'].map((text) => auditor.noteInvestigation({ runId, text })));
  const { notes } = await olga.getInvestigation({ runId });
  expect(notes.map(({ number, by }) => [number, by])).toEqual([1, 2, 3].map((number) => [number, 'aud@acme']));
  expect((await olga.closeInvestigation({ runId, finding: 'A true loop.' })).investigation).toMatchObject({
    state: 'closed',
    closedBy: 'olga@acme',
    finding: 'A true loop.',
  });
  const again = await olga.closeInvestigation({ runId, finding: 'Nothing.' });
  expect(again.investigation?.finding).toBe('A true loop.');
  expect((await stewardErrorOf(olga.assignInvestigation({ runId, assignee: 'ben' }))).code).toBe('WRONG_STATE');
  const audit = await bench.database.query('select action from steward.audit_log where run_id = $1 order by id', [
    runId,
  ]);
  expect(audit.map(({ action }) => action)).toEqual([...Array(3).fill('investigation.note'), 'investigation.close']);
});

test('auditors read and note, others have no business here, and another tenant finds nothing', async () => {
  const tenant = await bench.tenant();
  const runId = await queued(tenant, 'aborted');
  const auditor = as(tenant, 'aud@acme', ['auditor']);
  expect((await stewardErrorOf(auditor.closeInvestigation({ runId, finding: 'x' }))).code).toBe('ROLE_MISSING');
  expect((await stewardErrorOf(as(tenant, 'ann@acme', ['user']).listInvestigations({}))).code).toBe('ROLE_MISSING');
  const rival = as(await bench.tenant());
  expect((await rival.listInvestigations({})).investigations).toEqual([]);
  expect((await stewardErrorOf(rival.getInvestigation({ runId }))).code).toBe('NOT_FOUND');
  expect((await stewardErrorOf(rival.noteInvestigation({ runId, text: 'x' }))).code).toBe('NOT_FOUND');
});
