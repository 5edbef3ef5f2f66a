import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { IncidentService } from '#gen/steward/incident/v1/incident_service_pb.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import { verifyBundle } from '#platform/identity/incident-bundles.ts';
import { publicKeySet, toPrivateJwk } from '#platform/identity/key-pair.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testKey } from '#test/support/identity.ts';
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

function as(tenant: string, roles: readonly Role[] = ['operator']): Client<typeof IncidentService> {
  const token = () => bench.issuer.token({ tenant, subject: 'olga@acme', roles }, 600);
  const connection = connect(IncidentService, { address: bench.address, token });
  open.push(connection);
  return connection.client;
}

async function bundleOf(client: Client<typeof IncidentService>, runId: string): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const { lines } of client.snapshotRun({ runId })) parts.push(lines);
  return Buffer.concat(parts).toString('utf8');
}

interface CallSeed {
  readonly call: string;
  readonly tool: string;
  readonly state?: string;
  readonly undoable?: boolean;
  readonly record?: string;
  readonly minutesAgo?: number;
}

async function called(tenant: string, run: string, seed: CallSeed): Promise<void> {
  const { call, tool, state = 'done', undoable = true, record, minutesAgo = 1 } = seed;
  const change =
    record === undefined
      ? null
      : {
          summary: 's',
          fields: [
            { record, field: 'a' },
            { record, field: 'b' },
          ],
          quantities: {},
        };
  await bench.database.query(
    `insert into steward.agent_run_tool_invocations (tenant, run_id, call_id, turn, ordinal, provider_id, catalog, tool,
       tool_hash, sig, verdict, policy_set_hash, has_effect, state, undoable, change, started_at)
     values ($1, $2, $3, 1, 0, 'p', 'desk', $4, 'h', 's', 'allow', 'p', $4 <> 'look', $5, $6, $7,
       now() - $8 * interval '1 minute')`,
    [tenant, run, call, tool, state, undoable, change === null ? null : JSON.stringify(change), minutesAgo],
  );
}

const hour = () => ({
  from: timestampFromDate(new Date(Date.now() - 3_600_000)),
  to: timestampFromDate(new Date(Date.now() + 60_000)),
});

test('a bundle holds all of a run but its grant, and is signed as a whole', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant, { input: 'Look into ünusual things.' });
  await called(tenant, run.id, { call: '1.0', tool: 'note', record: 'note/n1' });
  const text = await bundleOf(as(tenant), run.id);
  const lines = text.trimEnd().split('\n');
  const [head, ...rest] = lines.slice(0, -1).map((line) => JSON.parse(line) as Record<string, never>);
  expect(head).toMatchObject({ steward: 'incident', tenant, run: run.id, takenBy: 'olga@acme' });
  const sections = new Set(rest.map(({ section }) => section));
  expect([...sections]).toEqual(expect.arrayContaining(['run', 'agent', 'step', 'call', 'event', 'audit']));
  expect(text).toContain('Look into ünusual things.');
  expect(text).toContain('instructions: Help.');
  const [row] = await bench.database.query<{ run_grant: string }>(
    'select run_grant from steward.agent_runs where id = $1',
    [run.id],
  );
  expect(text).not.toContain(row?.run_grant);

  const { signature } = JSON.parse(lines.at(-1) ?? '') as { signature: string };
  const ours = publicKeySet(
    toPrivateJwk(JSON.parse(await readFile(bench.env.STEWARD_RUN_GRANT_KEY_FILE ?? '', 'utf8'))),
  );
  const signed = await verifyBundle(ours, signature);
  const digest = createHash('sha256')
    .update(text.slice(0, text.lastIndexOf('{"signature"')))
    .digest('hex');
  expect(signed).toMatchObject({ tenant, run: run.id, digest, lines: lines.length - 1, takenBy: 'olga@acme' });
  const stranger = await testKey();
  expect((await stewardErrorOf(verifyBundle(stranger.jwks, signature))).code).toBe('GRANT_INVALID');
  const audited = await bench.database.query('select action from steward.audit_log where run_id = $1', [run.id]);
  expect(audited).toContainEqual({ action: 'incident.snapshot' });
});

test('what was touched is counted by tool, record and run, with what can be undone', async () => {
  const tenant = await bench.tenant();
  const run = await bench.database.run(tenant, { acting_user: 'ann@acme' });
  const other = await bench.database.run(tenant, { acting_user: 'bob@acme', agent: 'other' });
  await called(tenant, run, { call: '1.0', tool: 'note', record: 'note/n1' });
  await called(tenant, run, { call: '1.1', tool: 'note', record: 'note/n1' });
  await called(tenant, run, { call: '1.2', tool: 'shred', record: 'note/n2', undoable: false });
  await called(tenant, run, { call: '1.3', tool: 'shred', state: 'outcome_unknown' });
  await called(tenant, run, { call: '1.4', tool: 'look' });
  await called(tenant, run, { call: '1.5', tool: 'note', state: 'refused' });
  await called(tenant, other, { call: '1.0', tool: 'note', record: 'note/n3', state: 'started' });
  await called(tenant, other, { call: '1.1', tool: 'note', record: 'note/n4', minutesAgo: 120 });
  const client = as(tenant);
  const all = await client.getBlastRadius(hour());
  expect(all).toMatchObject({ tenant, runs: 2n, users: 2n, recordsInAll: 2n });
  expect(all.tools).toMatchObject([
    { tool: 'note', done: 2n, undoable: 2n, undone: 0n, final: 0n, unknown: 0n, running: 1n },
    { tool: 'shred', done: 1n, undoable: 0n, final: 1n, unknown: 1n, running: 0n },
  ]);
  expect(all.records).toMatchObject([
    { record: 'note/n1', changes: 2n, lastRunId: run },
    { record: 'note/n2', changes: 1n },
  ]);
  expect(all.runList).toMatchObject([
    { runId: run, effects: 4n, undoable: 2n },
    { runId: other, effects: 1n, undoable: 0n },
  ]);
  const one = await client.getBlastRadius({ ...hour(), agent: 'other' });
  expect(one).toMatchObject({ runs: 1n, tools: [{ tool: 'note', running: 1n }] });
  expect((await client.getBlastRadius({ ...hour(), tool: 'shred', actingUser: 'ann@acme' })).runs).toBe(1n);
  expect((await client.getBlastRadius({ ...hour(), runId: other })).runList).toHaveLength(1);
  expect((await as(await bench.tenant()).getBlastRadius(hour())).runs).toBe(0n);
});

test('a span is needed, users have no business here, and another tenant’s run is none', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant);
  expect((await stewardErrorOf(as(tenant).getBlastRadius({}))).message).toMatch(/from is needed; to is needed/);
  const year = { from: timestampFromDate(new Date(0)), to: timestampFromDate(new Date()) };
  expect((await stewardErrorOf(as(tenant).getBlastRadius(year))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(as(tenant, ['user']).getBlastRadius(hour()))).code).toBe('ROLE_MISSING');
  const rival = as(await bench.tenant());
  expect((await stewardErrorOf(bundleOf(rival, run.id))).code).toBe('NOT_FOUND');
});
