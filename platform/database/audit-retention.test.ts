import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { anchorDirectory, readAnchors, signStatement } from '#platform/audit/anchors.ts';
import { verifyChain } from '#platform/audit/verify.ts';
import { createKeyPair, type KeyPair } from '#platform/identity/key-pair.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { readChain } from './audit-chain.ts';
import { eraseSubject, pruneTenant } from './audit-retention.ts';
import { anchorTenant, sealTenant } from './audit-sealer.ts';
import { connect } from './connect.ts';
import { audit } from './journal.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

let database: StewardDatabase;
let home: string;
let key: KeyPair;
let worker: ReturnType<typeof connect<Database>>;
let runApi: ReturnType<typeof connect<Database>>;

beforeAll(async () => {
  database = await stewardDatabase();
  home = await mkdtemp(join(tmpdir(), 'steward-retention-'));
  key = await createKeyPair(home, 'audit');
  worker = connect<Database>(await database.urlAs('steward_worker'), { max: 2 });
  runApi = connect<Database>(await database.urlAs('steward_run_api'), { max: 2 });
}, 120_000);

afterAll(async () => {
  await Promise.all([worker.close(), runApi.close()]);
  await database.drop();
  await rm(home, { recursive: true });
});

/** All but the date. */
const TIMERS = [
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'setTimeout',
  'clearTimeout',
] as const;

/** A sealed and anchored chain with an entry for each age, oldest first. */
async function chain(tenant: string, ages: readonly number[], actor = 'ann@acme'): Promise<void> {
  for (const days of ages) {
    jest.useFakeTimers({ now: Date.now() - days * 86_400_000, doNotFake: [...TIMERS] });
    await withTenant(runApi.db, tenant, (trx) => audit(trx, tenant, { actor, action: 'thing.done', data: { days } }));
    await sealTenant({ db: worker.db }, tenant);
    await anchorTenant({ db: worker.db, store: store(), key: key.privateJwk }, tenant, { every: 1 });
    jest.useRealTimers();
  }
}

const store = () => anchorDirectory(home);
const prune = (tenant: string) => pruneTenant({ db: worker.db, store: store(), key: key.privateJwk }, tenant);
const verified = async (tenant: string) => {
  const { anchors } = readAnchors(await store().read(tenant), key.jwks, tenant);
  return verifyChain(tenant, readChain(worker.db, tenant), anchors);
};

test('what has outlived its tier goes, a beginning only, and the chain stays whole', async () => {
  const tenant = await database.tenant({ tier: 'free' });
  await chain(tenant, [200, 91, 10, 95, 1]);
  expect(await prune(tenant)).toBe(2);
  expect(await prune(tenant)).toBe(0);
  expect(await verified(tenant)).toMatchObject({ entries: 5, pruned: 2, anchored: 5, damage: [] });
  const pro = await database.tenant({ tier: 'pro' });
  await chain(pro, [200, 1]);
  expect(await prune(pro)).toBe(0);
});

test('neither another tier nor a date beside the bytes lets go of what was to be kept', async () => {
  const tenant = await database.tenant({ tier: 'enterprise' });
  await chain(tenant, [200, 1]);
  await withTenant(runApi.db, tenant, (trx) =>
    trx.updateTable('tenants').set({ tier: 'free' }).where('id', '=', tenant).execute(),
  );
  expect(await prune(tenant)).toBe(0);
  const free = await database.tenant({ tier: 'free' });
  await chain(free, [100, 2, 1]);
  await database.query("update steward.audit_log set at = now() - interval '1 year' where tenant = $1", [free]);
  expect(await prune(free)).toBe(1);
  // Nor does a statement that came too early for what it says is gone.
  const { hash } =
    (await database.query('select hash from steward.audit_chain where tenant = $1 and number = 2', [free]))[0] ?? {};
  const early = { tenant: free, number: 2, hash: (hash as Buffer).toString('hex'), at: new Date().toISOString() };
  await store().add(free, signStatement(key.privateJwk, { kind: 'pruned', ...early }));
  await database.query(`update steward.audit_log l set at = (l.entry::jsonb ->> 'at')::timestamptz where tenant = $1`, [
    free,
  ]);
  await database.query(
    `delete from steward.audit_log where id in
     (select audit_id from steward.audit_chain where tenant = $1 and number = 2)`,
    [free],
  );
  expect(await verified(free)).toMatchObject({ damage: [{ class: 'removed', number: 2 }] });
});

test('where nothing was signed for so long, nothing goes', async () => {
  const tenant = await database.tenant({ tier: 'free' });
  jest.useFakeTimers({ now: Date.now() - 100 * 86_400_000, doNotFake: [...TIMERS] });
  await withTenant(runApi.db, tenant, (trx) => audit(trx, tenant, { actor: 'ann@acme', action: 'thing.done' }));
  jest.useRealTimers();
  await chain(tenant, [1]);
  expect(await prune(tenant)).toBe(0);
});

test('bytes that went without a signed statement count as removed, and the worker cannot take younger ones', async () => {
  const tenant = await database.tenant({ tier: 'free' });
  await chain(tenant, [5, 4]);
  const taken = withTenant(worker.db, tenant, (trx) =>
    trx.deleteFrom('audit_log').where('tenant', '=', tenant).executeTakeFirst(),
  );
  expect((await taken).numDeletedRows).toBe(0n);
  await database.query('delete from steward.audit_log where tenant = $1', [tenant]);
  expect((await verified(tenant)).damage).toMatchObject([
    { class: 'removed', number: 1 },
    { class: 'removed', number: 2 },
  ]);
});

test('a person is erased, others are not, and the chain stays whole', async () => {
  const tenant = await database.tenant();
  await chain(tenant, [3], 'dora@acme');
  await withTenant(runApi.db, tenant, (trx) =>
    audit(trx, tenant, { actor: 'ben@acme', action: 'thing.done', data: { to: 'dora@acme' } }),
  );
  const run = await database.run(tenant, { acting_user: 'dora@acme' });
  await withTenant(runApi.db, tenant, (trx) => audit(trx, tenant, { actor: 'worker', action: 'call.effect', run }));
  await withTenant(runApi.db, tenant, (trx) =>
    audit(trx, tenant, { actor: 'bea@acme', action: 'approval.approve', run }),
  );
  const own = await database.run(tenant, { acting_user: 'dora@acme', started_by: 'olga@acme' });
  await withTenant(runApi.db, tenant, (trx) =>
    audit(trx, tenant, { actor: 'worker', action: 'call.effect', run: own }),
  );
  await chain(tenant, [1], 'ben@acme');
  const dora = { subject: 'dora@acme', by: 'olga@acme', reason: 'asked for' };
  expect(await eraseSubject(runApi.db, tenant, dora, 2)).toBe(2);
  expect(await eraseSubject(runApi.db, tenant, dora, 2)).toBe(1);
  expect(await eraseSubject(runApi.db, tenant, dora)).toBe(0);
  // Neither one's own tracks nor those of the erasing, whatever is asked for.
  for (const subject of ['asked for', 'entries', 'reason']) {
    expect(await eraseSubject(runApi.db, tenant, { ...dora, subject })).toBe(0);
  }
  await sealTenant({ db: worker.db }, tenant);
  const left = await database.query('select actor from steward.audit_log where tenant = $1 order by id', [tenant]);
  expect(left.map(({ actor }) => actor)).toEqual([
    null,
    null,
    null,
    'bea@acme',
    'worker',
    'ben@acme',
    'olga@acme',
    'olga@acme',
  ]);
  expect(await verified(tenant)).toMatchObject({ entries: 8, erased: 3, damage: [] });
  const rewritten = withTenant(runApi.db, tenant, (trx) =>
    trx.updateTable('audit_log').set({ actor: 'nobody' }).where('tenant', '=', tenant).execute(),
  );
  await expect(rewritten).rejects.toThrow(/row-level security/);
});
