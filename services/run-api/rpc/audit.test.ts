import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { AuditService } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { anchorDirectory } from '#platform/audit/anchors.ts';
import { anchorTenant, sealTenant } from '#platform/database/audit-sealer.ts';
import { connect as connectDatabase } from '#platform/database/connect.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { connect } from '#platform/grpc/client.ts';
import { createKeyPair, type KeyPair } from '#platform/identity/key-pair.ts';
import type { Role } from '#platform/identity/principal.ts';
import { runCli } from '#test/support/cli.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let home: string;
let key: KeyPair;
let bench: RunApiBench;
let worker: ReturnType<typeof connectDatabase<Database>>;
let anchors: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'steward-audit-rpc-'));
  key = await createKeyPair(home, 'audit');
  anchors = join(home, 'anchors');
  bench = await runApiBench({ env: { STEWARD_AUDIT_ANCHORS: anchors, STEWARD_AUDIT_JWKS: key.jwksPath } });
  worker = connectDatabase<Database>(await bench.database.urlAs('steward_worker'), { max: 2, name: 'sealer' });
}, 120_000);

afterAll(async () => {
  await worker.close();
  await bench.stop();
  await rm(home, { recursive: true, force: true });
}, 60_000);

async function seal(tenant: string): Promise<void> {
  await sealTenant({ db: worker.db }, tenant);
  const store = anchorDirectory(anchors);
  await anchorTenant({ db: worker.db, store, key: key.privateJwk }, tenant, { every: 1 });
}

async function withAudit<T>(
  tenant: string,
  roles: readonly Role[],
  work: (client: ReturnType<typeof connect<typeof AuditService>>['client']) => Promise<T>,
): Promise<T> {
  const token = (): Promise<string> => bench.issuer.token({ tenant, subject: 'ada@acme', roles: [...roles] }, 600);
  const connection = connect(AuditService, { address: bench.address, token });
  try {
    return await work(connection.client);
  } finally {
    connection.close();
  }
}

test('entries are found by run, actor and action, page by page, and no others', async () => {
  const [tenant, other] = [await bench.tenant(), await bench.tenant()];
  const run = await bench.start(tenant);
  await bench.start(other);
  await seal(tenant);
  await withAudit(tenant, ['auditor'], async (client) => {
    const all = await client.searchAudit({});
    expect(all.entries.map(({ action, number }) => [action, number])).toEqual([
      ['run.start', 2n],
      ['agent.apply', 1n],
    ]);
    expect((await client.searchAudit({ runId: run.id })).entries).toMatchObject([
      { action: 'run.start', actor: 'ann@acme' },
    ]);
    expect((await client.searchAudit({ actor: 'nobody' })).entries).toEqual([]);
    const first = await client.searchAudit({ pageSize: 1 });
    const second = await client.searchAudit({ pageSize: 1, pageToken: first.nextPageToken });
    expect([first, second].map(({ entries }) => entries[0]?.action)).toEqual(['run.start', 'agent.apply']);
    expect(second.nextPageToken).toBe('');
    expect((await stewardErrorOf(client.searchAudit({ pageToken: 'x' }))).code).toBe('INVALID_REQUEST');
  });
  await withAudit(tenant, ['operator'], async (client) => {
    expect((await stewardErrorOf(client.searchAudit({}))).code).toBe('ROLE_MISSING');
  });
});

test('an export is verified with no server; what was changed in it, or cut off it, is found', async () => {
  const tenant = await bench.tenant();
  await bench.tenant();
  for (let runs = 0; runs < 4; runs += 1) await bench.start(tenant);
  await seal(tenant);
  const env = {
    STEWARD_ADDRESS: bench.address,
    STEWARD_TOKEN: await bench.issuer.token({ tenant, subject: 'ada@acme', roles: ['auditor'] }, 600),
  };
  const file = join(home, 'export.jsonl');
  expect(await runCli(['audit', 'export', '--out', file], { env })).toMatchObject({ code: 0 });
  const check = ['audit', 'verify', '--file', file, '--anchors', join(anchors, `${tenant}.anchors.jsonl`)];
  const verify = () => runCli([...check, '--key', key.jwksPath, '--json']);
  const whole = await verify();
  expect(whole.code).toBe(0);
  expect(JSON.parse(whole.stdout)).toMatchObject({ entries: 5, anchored: 5, damage: [] });

  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
  expect(lines.every((line) => (JSON.parse(line) as { tenant: string }).tenant === tenant)).toBe(true);
  await writeFile(file, `${lines.slice(0, 3).join('\n')}\n`);
  const cut = await verify();
  expect(cut.code).toBe(1);
  expect(JSON.parse(cut.stdout)).toMatchObject({ damage: [{ class: 'tail_cut', number: 4 }] });
  await writeFile(file, `${lines.with(2, lines[2]?.replace('run.start', 'run.pause') ?? '').join('\n')}\n`);
  expect(JSON.parse((await verify()).stdout)).toMatchObject({ damage: [{ class: 'changed', number: 3 }] });

  const csv = join(home, 'export.csv');
  expect(await runCli(['audit', 'export', '--format', 'csv', '--out', csv], { env })).toMatchObject({ code: 0 });
  expect((await readFile(csv, 'utf8')).split('\n')[1]).toMatch(/^1,\d{4}-.*,agent\.apply,/);
});

test('an entry that is longer than a message is exported whole', async () => {
  const tenant = await bench.tenant();
  const text = '😀ß'.repeat(300_000);
  await withTenant(worker.db, tenant, async (trx) => {
    for (const data of [{ n: 1 }, { text }, { n: 2 }])
      await audit(trx, tenant, { actor: 'ann@acme', action: 'x.y', data });
  });
  await seal(tenant);
  const lines: string[] = [];
  await withAudit(tenant, ['auditor'], async (client) => {
    let begun = '';
    for await (const part of client.exportAudit({})) {
      const whole = part.lines.map((line, at) => (at === 0 ? begun + line : line));
      begun = part.goesOn ? (whole.pop() ?? '') : '';
      lines.push(...whole);
    }
  });
  const found = lines.map((line) => (JSON.parse(line) as { personal: { data: { text?: string } } }).personal.data);
  expect(found.some((data) => data.text === text)).toBe(true);
});

test('the server verifies what it has, against the anchors', async () => {
  const tenant = await bench.tenant();
  await bench.start(tenant);
  await seal(tenant);
  const verified = () => withAudit(tenant, ['admin'], (client) => client.verifyAudit({}));
  expect(await verified()).toMatchObject({ entries: 2n, anchored: 2n, anchorsKnown: true, damage: [] });
  expect((await verified()).anchorTrouble).toBe('');
  const line = await readFile(join(home, 'anchors', `${tenant}.anchors.jsonl`), 'utf8');
  await writeFile(join(home, 'anchors', `${tenant}.anchors.jsonl`), line.replace(/"kid":"[^"]+"/, '"kid":"lost"'));
  await bench.database.query(
    "update steward.audit_chain set sealed_at = now() - interval '11 minutes' where tenant = $1",
    [tenant],
  );
  expect((await verified()).anchorTrouble).toContain('no anchor vouches for 1');
  expect((await verified()).anchorTrouble).toContain('1 anchors are signed by no key');
  await writeFile(join(home, 'anchors', `${tenant}.anchors.jsonl`), line);
  await bench.database.query('delete from steward.audit_chain where tenant = $1 and number = 2', [tenant]);
  expect(await verified()).toMatchObject({ damage: [{ class: 'tail_cut', number: 2n }] });
});
