import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type AnchorStore, anchorDirectory, readAnchors } from '#platform/audit/anchors.ts';
import { verifyChain } from '#platform/audit/verify.ts';
import { createKeyPair, type KeyPair } from '#platform/identity/key-pair.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { readChain } from './audit-chain.ts';
import { anchorTenant, sealTenant } from './audit-sealer.ts';
import { connect } from './connect.ts';
import { audit } from './journal.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

let database: StewardDatabase;
let pool: ReturnType<typeof connect<Database>>;
let directory: string;
let key: KeyPair;
let store: AnchorStore;

beforeAll(async () => {
  database = await stewardDatabase();
  pool = connect<Database>(await database.urlAs('steward_worker'), { max: 8, name: 'sealers' });
  directory = await mkdtemp(join(tmpdir(), 'steward-audit-'));
  key = await createKeyPair(directory, 'audit');
  store = anchorDirectory(join(directory, 'anchors'));
}, 120_000);

afterAll(async () => {
  await pool.close();
  await database.drop();
  await rm(directory, { recursive: true, force: true });
});

const say = (tenant: string, action: string): Promise<void> =>
  withTenant(pool.db, tenant, (trx) => audit(trx, tenant, { actor: 'ann', action, data: { amount: 1.5, to: 'bob' } }));

async function verify(tenant: string, erased = 0) {
  const { anchors } = readAnchors(await store.read(tenant), key.jwks, tenant);
  return verifyChain(tenant, readChain(pool.db, tenant), anchors, undefined, async () => erased);
}

test('entries are sealed in the order they were seen committed; a late commit gets its place', async () => {
  const tenant = await database.tenant();
  const late = withTenant(pool.db, tenant, async (trx) => {
    await audit(trx, tenant, { actor: 'ann', action: 'late' });
    await say(tenant, 'early');
    expect(await sealTenant({ db: pool.db }, tenant)).toMatchObject({ sealed: 1 });
  });
  await late;
  expect(await sealTenant({ db: pool.db }, tenant)).toMatchObject({ sealed: 1, more: false });
  expect(await sealTenant({ db: pool.db }, tenant)).toMatchObject({ sealed: 0 });
  const rows = await database.query(
    `select c.number, l.action from steward.audit_chain c join steward.audit_log l on l.id = c.audit_id
     where c.tenant = $1 order by 1`,
    [tenant],
  );
  expect(rows.map((row) => [Number(row.number), row.action])).toEqual([
    [1, 'early'],
    [2, 'late'],
  ]);
  expect(await verify(tenant)).toMatchObject({ entries: 2, last: 2, damage: [] });
});

test('several sealers at once seal each entry once', async () => {
  const tenant = await database.tenant();
  await Promise.all(Array.from({ length: 30 }, (_, at) => say(tenant, `a.${at}`)));
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(Array.from({ length: 4 }, () => sealTenant({ db: pool.db }, tenant, 3)));
  }
  expect(await verify(tenant)).toMatchObject({ entries: 30, last: 30, damage: [] });
});

test('a head is anchored when it is due, and a chain cut behind it is found', async () => {
  const tenant = await database.tenant();
  const deps = { db: pool.db, store, key: key.privateJwk };
  for (let at = 0; at < 3; at += 1) await say(tenant, `a.${at}`);
  await sealTenant({ db: pool.db }, tenant);
  expect(await anchorTenant(deps, tenant)).toBe(3);
  await say(tenant, 'more');
  await sealTenant({ db: pool.db }, tenant);
  expect(await anchorTenant(deps, tenant)).toBeNull();
  expect(await anchorTenant(deps, tenant, { every: 1 })).toBe(4);
  expect(await verify(tenant)).toMatchObject({ anchored: 4, damage: [] });
  await database.query('delete from steward.audit_chain where tenant = $1 and number > 2', [tenant]);
  expect(await verify(tenant)).toMatchObject({ damage: [{ class: 'tail_cut', number: 3 }] });
});

test('what names people can be erased, and the chain stands; put back otherwise, it is found', async () => {
  const tenant = await database.tenant();
  await say(tenant, 'a');
  await say(tenant, 'b');
  await sealTenant({ db: pool.db }, tenant);
  await database.query('update steward.audit_log set actor = null, data = null, salt = null where tenant = $1', [
    tenant,
  ]);
  expect(await verify(tenant, 2)).toMatchObject({ entries: 2, erased: 2, damage: [] });
  expect(await verify(tenant)).toMatchObject({ erased: 2, damage: [{ class: 'changed', number: 1 }] });
  await database.query(
    `update steward.audit_log set actor = 'eve', data = '{}', salt = '' where tenant = $1 and action = 'b'`,
    [tenant],
  );
  expect(await verify(tenant, 1)).toMatchObject({ damage: [{ class: 'changed', number: 2 }] });
});
