import { expect, test } from '@jest/globals';
import { canonicalJson } from '#platform/identity/canonical-json.ts';
import type { Statement } from './anchors.ts';
import { GENESIS, leafHash, personalHash } from './chain.ts';
import { type ChainRecord, verifyChain } from './verify.ts';

const SALT = Buffer.alloc(16, 7);

function chain(tenant: string, length: number): ChainRecord[] {
  let prev: Uint8Array = GENESIS;
  return Array.from({ length }, (_, at) => {
    const data = { at };
    const entry = canonicalJson({ tenant, at, personal: personalHash(SALT, { actor: 'ann', data }) });
    const hash = leafHash({ tenant, number: at + 1, prev, entry });
    const record = { tenant, number: at + 1, prev, hash, entry, personal: { salt: SALT, actor: 'ann', data } };
    prev = hash;
    return record;
  });
}

function anchorOf(record: ChainRecord, kind: 'head' | 'pruned' = 'head'): Statement {
  const hash = Buffer.from(record.hash).toString('hex');
  const at = kind === 'head' ? '2026-01-01T00:00:00Z' : '2026-04-02T00:00:00Z';
  return { v: 1, kind, tenant: record.tenant, number: record.number, hash, at, kid: 'k' };
}

async function found(records: readonly ChainRecord[], anchors: readonly Statement[] = []) {
  return (await verifyChain('acme', records, anchors)).damage.map((one) => [one.class, one.number]);
}

const whole = chain('acme', 9);
const at = (number: number): ChainRecord => whole[number - 1] as ChainRecord;

test('a whole chain is found whole', async () => {
  expect(await verifyChain('acme', whole, [anchorOf(at(5)), anchorOf(at(9))])).toEqual({
    entries: 9,
    last: 9,
    anchored: 9,
    pruned: 0,
    erased: 0,
    damage: [],
  });
});

test('bytes that were changed are found, with their own hash made anew or not', async () => {
  const entry = at(4).entry?.replace('"at":3', '"at":4') ?? '';
  expect(await found(whole.with(3, { ...at(4), entry }))).toEqual([['changed', 4]]);
  const hash = leafHash({ tenant: 'acme', number: 4, prev: at(4).prev, entry });
  expect(await found(whole.with(3, { ...at(4), entry, hash }))).toEqual([['changed', 4]]);
  const personal = { salt: SALT, actor: 'eve', data: { at: 3 } };
  expect(await found(whole.with(3, { ...at(4), personal }))).toEqual([['changed', 4]]);
});

test('what is missing is found, with a gap, with numbers moved up, or with its bytes gone', async () => {
  expect(await found(whole.toSpliced(3, 1))).toEqual([['removed', 4]]);
  const moved = whole.toSpliced(3, 1).map((one, index) => ({ ...one, number: index + 1 }));
  expect(await found(moved)).toEqual([['removed', 4]]);
  expect(await found(whole.with(3, { ...at(4), entry: null }))).toEqual([['removed', 4]]);
});

test('what was put in between is found', async () => {
  const forged = { ...at(4), entry: at(4).entry?.replace('"at":3', '"at":99') ?? '' };
  const linked = { ...forged, hash: leafHash({ tenant: 'acme', number: 4, prev: at(4).prev, entry: forged.entry }) };
  const pushed = whole.toSpliced(3, 0, linked).map((one, index) => ({ ...one, number: index + 1 }));
  expect(await found(pushed)).toEqual([['inserted', 5]]);
  expect(await found(whole.toSpliced(4, 0, linked))).toContainEqual(['inserted', 4]);
});

test('entries that changed places are found', async () => {
  const places = whole.with(2, { ...at(7), number: 3 }).with(6, { ...at(3), number: 7 });
  expect(await found(places)).toEqual([
    ['reordered', 3],
    ['reordered', 7],
  ]);
  const contents = (one: number, other: number) => ({
    entry: at(other).entry,
    personal: at(other).personal,
    ...{ one },
  });
  const swapped = whole.with(2, { ...at(3), ...contents(3, 4) }).with(3, { ...at(4), ...contents(4, 3) });
  expect(await found(swapped)).toEqual([
    ['reordered', 3],
    ['reordered', 4],
  ]);
});

test('a cut tail and a chain written anew are found by the anchors alone', async () => {
  expect(await found(whole.slice(0, 5))).toEqual([]);
  expect(await found(whole.slice(0, 5), [anchorOf(at(9))])).toEqual([['tail_cut', 6]]);
  const other = chain('acme', 10).map((one) => one);
  const anew: ChainRecord[] = [];
  let prev: Uint8Array = GENESIS;
  for (const one of other.slice(1)) {
    const number = anew.length + 1;
    const hash = leafHash({ tenant: 'acme', number, prev, entry: one.entry ?? '' });
    anew.push({ ...one, number, prev, hash });
    prev = hash;
  }
  expect(await found(anew)).toEqual([]);
  expect(await found(anew, [anchorOf(at(9))])).toEqual([['rewritten', 1]]);
});

test("another tenant's entries are found, under its name or ours", async () => {
  const foreign = chain('other', 9)[3] as ChainRecord;
  expect((await found(whole.with(3, foreign)))[0]).toEqual(['grafted', 4]);
  expect((await found(whole.with(3, { ...foreign, tenant: 'acme' })))[0]).toEqual(['grafted', 4]);
});

test('bytes may be gone where something signed says so, and people may be erased', async () => {
  const pruned = whole.map((one) => (one.number <= 4 ? { ...one, entry: null, personal: null } : one));
  expect(await found(pruned, [anchorOf(at(4)), anchorOf(at(4), 'pruned')])).toEqual([]);
  expect(await found(pruned, [anchorOf(at(4)), anchorOf(at(3), 'pruned')])).toEqual([['removed', 4]]);
  // Nobody had signed so far, so long before.
  expect(await found(pruned, [anchorOf(at(3)), anchorOf(at(4), 'pruned')])).toHaveLength(4);
  const early = { ...anchorOf(at(4), 'pruned'), at: '2026-03-31T00:00:00Z' };
  expect(await found(pruned, [anchorOf(at(4)), early])).toHaveLength(4);
  const erased = whole.map((one) => ({ ...one, personal: null }));
  const verify = (unsealed: number) => verifyChain('acme', erased, [], undefined, async () => unsealed);
  expect(await verify(9)).toMatchObject({ erased: 9, damage: [] });
  expect(await verify(8)).toMatchObject({ erased: 9, damage: [{ class: 'changed', number: 1 }] });
});

test('a number that was signed twice with different hashes was rewritten', async () => {
  const other = { ...anchorOf(at(9)), hash: 'f'.repeat(64) };
  expect(await found(whole, [anchorOf(at(5)), anchorOf(at(9)), other])).toEqual([['rewritten', 6]]);
  expect(await found(whole, [anchorOf(at(5)), other, anchorOf(at(9))])).toContainEqual(['rewritten', 6]);
  expect(await found(whole, [anchorOf(at(9)), anchorOf(at(9))])).toEqual([]);
});

test('what stands beside an entry for searching is compared with it', async () => {
  const columns = { at: 3 as unknown as string, action: null, run: null, call: null, digest: null, tool: null };
  expect(await found(whole.with(3, { ...at(4), columns }))).toEqual([]);
  expect(await found(whole.with(3, { ...at(4), columns: { ...columns, run: 'r1' } }))).toEqual([['changed', 4]]);
});
