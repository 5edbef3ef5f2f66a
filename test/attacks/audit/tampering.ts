import { GENESIS } from '#platform/audit/chain.ts';
import type { DamageClass } from '#platform/audit/verify.ts';
import type { AuditWorld } from './world.ts';

/** Entries of each chain that is attacked; anchors stand at its middle and at its end. */
export const LENGTH = 40;

/** One way to tamper. `play` returns the number where the damage begins. */
export interface Tampering {
  readonly class: DamageClass;
  readonly what: string;
  /** `at` lies within 2 and 18. */
  play(world: AuditWorld, tenant: string, at: number): Promise<number>;
}

interface Link {
  readonly number: number;
  readonly audit_id: number;
  readonly prev: Buffer;
  readonly hash: Buffer;
  readonly entry: string;
}

async function linksOf({ database }: AuditWorld, tenant: string): Promise<Link[]> {
  const rows = await database.query(
    `select c.number, c.audit_id, c.prev, c.hash, l.entry from steward.audit_chain c
     join steward.audit_log l on l.id = c.audit_id where c.tenant = $1 order by c.number`,
    [tenant],
  );
  return rows.map((row) => ({ ...(row as Link), number: Number(row.number), audit_id: Number(row.audit_id) }));
}

async function linkAt(world: AuditWorld, tenant: string, at: number): Promise<Link> {
  const link = (await linksOf(world, tenant))[at - 1];
  if (!link) throw new Error(`the chain of ${tenant} has no number ${at}`);
  return link;
}

/** Moves all numbers from `from` on; by way of far-off ones, since numbers are unique. */
async function shift({ database }: AuditWorld, tenant: string, from: number, by: number): Promise<void> {
  const far = 1_000_000;
  const text = 'update steward.audit_chain set number = number + $3 where tenant = $1 and number >= $2';
  await database.query(text, [tenant, from, far]);
  await database.query(text, [tenant, far, by - far]);
}

/** Makes the head fit what is left, as if it had always been so. */
async function mendHead({ database }: AuditWorld, tenant: string): Promise<void> {
  await database.query(
    `update steward.audit_heads h set number = c.number, hash = c.hash, anchored_number = c.number
     from (select number, hash from steward.audit_chain where tenant = $1 order by number desc limit 1) c
     where h.tenant = $1`,
    [tenant],
  );
}

/** Gives a link other bytes with the hash that belongs to them. */
async function rewrite(world: AuditWorld, tenant: string, link: Link, entry: string): Promise<void> {
  const { database, rules } = world;
  await database.query(
    `update steward.audit_log set entry = $2::text, tool = $2::text::jsonb ->> 'tool' where id = $1`,
    [link.audit_id, entry],
  );
  const hash = rules.leaf({ tenant, number: link.number, prev: link.prev, entry });
  await database.query('update steward.audit_chain set hash = $3 where tenant = $1 and number = $2', [
    tenant,
    link.number,
    hash,
  ]);
}

/** Puts a forged copy of a log row beside it and returns its id. */
async function forge({ database }: AuditWorld, tenant: string, id: number, entry: string): Promise<number> {
  const [row] = await database.query(
    `insert into steward.audit_log (tenant, at, actor, action, tool, data, salt, entry)
     select $1, at, actor, action, $3::text::jsonb ->> 'tool', data, salt, $3::text from steward.audit_log where id = $2 returning id`,
    [tenant, id, entry],
  );
  return Number(row?.id);
}

/** Changes the entry of a number, and makes every hash and the head anew. */
async function rewriteFrom(world: AuditWorld, tenant: string, at: number): Promise<void> {
  let prev: Uint8Array = GENESIS;
  for (const { number, audit_id, entry } of await linksOf(world, tenant)) {
    const text = number === at ? otherTool(entry) : entry;
    const hash = world.rules.leaf({ tenant, number, prev, entry: text });
    if (number === at) {
      const both = "update steward.audit_log set entry = $2, tool = 'lookup' where id = $1";
      await world.database.query(both, [audit_id, text]);
    }
    await world.database.query(
      'update steward.audit_chain set prev = $3, hash = $4 where tenant = $1 and number = $2',
      [tenant, number, prev, hash],
    );
    prev = hash;
  }
  await mendHead(world, tenant);
}

const otherTool = (entry: string): string => entry.replace('"tool":"refund"', '"tool":"lookup"');

/** The classes of P9. The attacker knows how hashes are made, and makes them anew wherever that needs no key. */
export const TAMPERINGS: readonly Tampering[] = [
  {
    class: 'changed',
    what: 'an entry says something else, with its own hash made anew',
    async play(world, tenant, at) {
      const link = await linkAt(world, tenant, at);
      await rewrite(world, tenant, link, otherTool(link.entry));
      return at;
    },
  },
  {
    class: 'changed',
    what: 'somebody else did it, says a row whose salt is gone',
    async play(world, tenant, at) {
      const { audit_id } = await linkAt(world, tenant, at);
      const text = `update steward.audit_log set actor = 'bob', data = '{"amount": 1}', salt = null where id = $1`;
      await world.database.query(text, [audit_id]);
      return at;
    },
  },
  {
    class: 'changed',
    what: 'who did it is erased, and no erasing says so',
    async play(world, tenant, at) {
      const { audit_id } = await linkAt(world, tenant, at);
      const text = 'update steward.audit_log set actor = null, data = null, salt = null where id = $1';
      await world.database.query(text, [audit_id]);
      return at;
    },
  },
  {
    class: 'changed',
    what: 'an entry is searched for under another tool than its own',
    async play(world, tenant, at) {
      const { audit_id } = await linkAt(world, tenant, at);
      await world.database.query("update steward.audit_log set tool = 'lookup' where id = $1", [audit_id]);
      return at;
    },
  },
  {
    class: 'removed',
    what: 'an entry is gone, and all behind it moved up',
    async play(world, tenant, at) {
      const { audit_id } = await linkAt(world, tenant, at);
      await world.database.query('delete from steward.audit_chain where tenant = $1 and number = $2', [tenant, at]);
      await world.database.query('delete from steward.audit_log where id = $1', [audit_id]);
      await shift(world, tenant, at + 1, -1);
      await mendHead(world, tenant);
      return at;
    },
  },
  {
    class: 'inserted',
    what: 'an entry that never was, well linked to the one before it',
    async play(world, tenant, at) {
      const { audit_id, entry, prev } = await linkAt(world, tenant, at);
      const forged = otherTool(entry);
      const id = await forge(world, tenant, audit_id, forged);
      await shift(world, tenant, at, 1);
      const hash = world.rules.leaf({ tenant, number: at, prev, entry: forged });
      await world.database.query(
        'insert into steward.audit_chain (tenant, number, audit_id, prev, hash) values ($1, $2, $3, $4, $5)',
        [tenant, at, id, prev, hash],
      );
      await mendHead(world, tenant);
      // The forged one fits what stands before it: the damage shows at the next.
      return at + 1;
    },
  },
  {
    class: 'reordered',
    what: 'two entries change places',
    async play(world, tenant, at) {
      const [one, other] = [await linkAt(world, tenant, at), await linkAt(world, tenant, at + 15)];
      const text = 'update steward.audit_chain set audit_id = $3 where tenant = $1 and number = $2';
      await world.database.query(text, [tenant, one.number, -1]);
      await world.database.query(text, [tenant, other.number, one.audit_id]);
      await world.database.query(text, [tenant, one.number, other.audit_id]);
      return at;
    },
  },
  {
    class: 'tail_cut',
    what: 'the last entries are gone, and the head says so',
    async play(world, tenant, at) {
      const first = LENGTH - at;
      await world.database.query(
        `delete from steward.audit_log where id in
         (select audit_id from steward.audit_chain where tenant = $1 and number >= $2)`,
        [tenant, first],
      );
      await world.database.query('delete from steward.audit_chain where tenant = $1 and number >= $2', [tenant, first]);
      await mendHead(world, tenant);
      return first;
    },
  },
  {
    class: 'rewritten',
    what: 'one entry says something else, and every hash from it on is made anew',
    async play(world, tenant, at) {
      await rewriteFrom(world, tenant, at);
      // No anchor vouches for anything before the first one.
      return 1;
    },
  },
  {
    class: 'rewritten',
    what: 'the same, and the worker is made to sign every head that it signed once more',
    async play(world, tenant, at) {
      await rewriteFrom(world, tenant, at);
      for (const number of [LENGTH / 2, LENGTH]) {
        await world.database.query(
          `update steward.audit_heads h set number = c.number, hash = c.hash, anchored_number = c.number - 1,
             anchored_at = null from steward.audit_chain c
           where h.tenant = $1 and c.tenant = $1 and c.number = $2`,
          [tenant, number],
        );
        await world.anchor(tenant);
      }
      return 1;
    },
  },
  {
    class: 'grafted',
    what: "another tenant's entry stands in the place of one, with its own hash made anew",
    async play(world, tenant, at) {
      const foreign = await linkAt(world, await world.chain(LENGTH), at);
      const own = await linkAt(world, tenant, at);
      const id = await forge(world, tenant, foreign.audit_id, foreign.entry);
      const hash = world.rules.leaf({ tenant, number: at, prev: own.prev, entry: foreign.entry });
      await world.database.query('delete from steward.audit_log where id = $1', [own.audit_id]);
      await world.database.query(
        'update steward.audit_chain set audit_id = $3, hash = $4 where tenant = $1 and number = $2',
        [tenant, at, id, hash],
      );
      return at;
    },
  },
];
