import { type Kysely, sql, type Transaction } from 'kysely';
import { type AnchorStore, signStatement, statementsOf } from '#platform/audit/anchors.ts';
import { LEAST_KEPT_DAYS } from '#platform/audit/verify.ts';
import type { PrivateJwk } from '#platform/identity/key-pair.ts';
import { audit } from './journal.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** Entries removed in one transaction at most. */
const BATCH = 2_000;
const DAY_MS = 86_400_000;

export interface PruneDeps {
  readonly db: Kysely<Database>;
  readonly store: AnchorStore;
  readonly key: PrivateJwk;
}

/**
 * Lets go of the bytes of a tenant's entries that have outlived the longest tier it ever had (free 90 days, pro 1 year,
 * enterprise 7 years) by a day, by the time that is hashed: a beginning of the chain, whose links stay. The signed
 * statement that says so is in the other store before anything goes; what was not signed so long ago stays.
 * Returns how many went; at most a batch.
 */
export function pruneTenant({ db, store, key }: PruneDeps, tenant: string, batch = BATCH): Promise<number> {
  const now = new Date();
  return withTenant(db, tenant, async (trx) => {
    const head = await trx
      .selectFrom('audit_heads')
      .select('pruned_number')
      .where('tenant', '=', tenant)
      .forUpdate()
      .skipLocked()
      .executeTakeFirst();
    if (!head) return 0;
    const { rows } = await sql<{ number: number; hash: Buffer }>`
      with kept as (
        select ${now}::timestamptz - (greatest(audit_days, ${LEAST_KEPT_DAYS}) + 1) * interval '1 day' as since
        from tenants where id = ${tenant}),
      next as (
        select c.number, c.hash, (l.entry::jsonb ->> 'at')::timestamptz < kept.since as outlived from audit_chain c
          join audit_log l on l.tenant = c.tenant and l.id = c.audit_id, kept
        where c.tenant = ${tenant} and c.number > ${head.pruned_number} order by c.number limit ${batch})
      -- A beginning only: an entry that is still kept keeps what stands behind it.
      select number, hash from next
      where number < coalesce((select min(number) from next where not outlived), 9223372036854775807)
      order by number desc limit 1`.execute(trx);
    if (!rows[0]) return 0;
    // What the verifier asks for: a head that had them so long ago.
    const long = new Date(now.getTime() - LEAST_KEPT_DAYS * DAY_MS);
    const heads = statementsOf(await store.newest(tenant, long), tenant).filter(({ kind }) => kind === 'head');
    const anchored = heads.at(-1)?.number ?? 0;
    if (anchored <= head.pruned_number) return 0;
    const last = rows[0].number <= anchored ? rows[0] : await linkAt(trx, tenant, anchored);
    const said = { tenant, number: last.number, hash: last.hash.toString('hex'), at: now.toISOString() };
    await store.add(tenant, signStatement(key, { kind: 'pruned', ...said }));
    const { numDeletedRows } = await trx
      .deleteFrom('audit_log')
      .where('tenant', '=', tenant)
      .where('id', 'in', (eb) =>
        eb
          .selectFrom('audit_chain')
          .select('audit_id')
          .where('tenant', '=', tenant)
          .where('number', '>', head.pruned_number)
          .where('number', '<=', last.number),
      )
      .executeTakeFirst();
    await trx.updateTable('audit_heads').set({ pruned_number: last.number }).where('tenant', '=', tenant).execute();
    return Number(numDeletedRows);
  });
}

function linkAt(trx: Transaction<Database>, tenant: string, number: number) {
  return trx
    .selectFrom('audit_chain')
    .select(['number', 'hash'])
    .where('tenant', '=', tenant)
    .where('number', '=', number)
    .executeTakeFirstOrThrow();
}

/** What the log says of the run of a person, and is no deed of another one. */
const ABOUT_RUNS = '^(verdict|call)[.]|^run[.](start|message|close|anomaly)$';

/** Whether the log can know somebody of this name: as it stands in tokens, or who a run is for, or who has decided. */
export function isSubject(trx: Transaction<Database>, subject: string): Promise<boolean> {
  if (subject.includes('@')) return Promise.resolve(true);
  return sql<{ known: boolean }>`
    select exists (select from agent_runs where acting_user = ${subject})
      or exists (select from approval_decisions where decided_by = ${subject}) as known`
    .execute(trx)
    .then(({ rows }) => rows[0]?.known === true);
}

/**
 * Empties what names or quotes a person in entries by them, about runs for them, or with their name as a value in the
 * data; and says so in an entry of the same transaction. The bytes that are hashed stay, and know them only by a hash
 * whose salt is gone. What `by` did themselves or had done by runs stays, what others did to those runs, and every
 * erasing. Returns how many; at most a batch.
 */
export function eraseSubject(
  db: Kysely<Database>,
  tenant: string,
  erasing: { readonly subject: string; readonly by: string; readonly reason: string },
  batch = BATCH,
): Promise<number> {
  const { subject, by, reason } = erasing;
  return withTenant(db, tenant, async (trx) => {
    const { numAffectedRows } = await sql`
      update audit_log set actor = null, data = null, salt = null
      where tenant = ${tenant} and id in (
        select id from audit_log l
        where tenant = ${tenant} and salt is not null and actor <> ${by} and action <> 'audit.erase' and (actor = ${subject}
          or jsonb_path_exists(data, '$.** ? (@ == $s)', jsonb_build_object('s', ${subject}::text))
          or (action ~ ${ABOUT_RUNS} and run_id in (select id from agent_runs where acting_user = ${subject})))
          and not exists (select from agent_runs r
            where r.tenant = l.tenant and r.id = l.run_id and ${by} in (r.acting_user, r.started_by))
        limit ${batch})`.execute(trx);
    const entries = Number(numAffectedRows ?? 0);
    if (entries > 0) await audit(trx, tenant, { actor: by, action: 'audit.erase', data: { entries, reason } });
    return entries;
  });
}
