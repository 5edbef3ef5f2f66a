import type { TestDatabase } from '#test/support/postgres.ts';

/**
 * What happened, in order, apart from what the ledger says of itself: triggers log every change of an attempt's row, and
 * every movement of an account while its row is locked, which gives the order. Amounts are those of the attempts.
 */

const LOG = `
  create schema attack;
  create table attack.moves (seq bigserial primary key, tx bigint not null, account text not null);
  create table attack.attempts (tx bigint not null, attempt text not null, state text not null, was text, run text,
    held bigint not null, settled bigint, before bigint, user_account text, month_account text, tenant text not null);
  grant usage on schema attack to public;
  grant insert, select on attack.moves, attack.attempts to public;
  grant usage on sequence attack.moves_seq_seq to public;
  create function attack.moved() returns trigger language plpgsql as $f$ begin
    insert into attack.moves (tx, account) values (txid_current(),
      case tg_table_name when 'product_accounts' then 'product/' || (to_jsonb(new) ->> 'month')
        else (to_jsonb(new) ->> 'tenant') || '/' || (to_jsonb(new) ->> 'id') end);
    return null; end $f$;
  create function attack.attempted() returns trigger language plpgsql as $f$ begin
    insert into attack.attempts values (txid_current(), new.attempt_id, new.state,
      case when tg_op = 'UPDATE' then old.state end, new.run_id, new.reserved_micro_usd, new.settled_micro_usd,
      case when tg_op = 'UPDATE' then old.settled_micro_usd end, new.user_account, new.month_account, new.tenant);
    return null; end $f$;
  create trigger attack_moved after update of reserved_micro_usd, settled_micro_usd on steward.ledger_accounts
    for each row execute function attack.moved();
  create trigger attack_moved after update of reserved_micro_usd, settled_micro_usd on steward.product_accounts
    for each row execute function attack.moved();
  create trigger attack_attempted after insert or update on steward.agent_run_costs
    for each row execute function attack.attempted();`;

/** Puts the log into a migrated database. */
export async function installLog(database: TestDatabase): Promise<void> {
  await database.query(LOG);
}

/** One attempt's change within a transaction that moved an account. */
export interface Move {
  readonly account: string;
  readonly attempt: string;
  readonly state: string;
  /** Null where it is new. */
  readonly was: string | null;
  readonly held: number;
  readonly settled: number;
  readonly before: number;
}

/** What an account has come to, and how often it was admitted past its limit. */
export interface Replayed {
  readonly reserved: number;
  readonly settled: number;
  readonly admitted: number;
  readonly admittedPastLimit: number;
}

/** Plays moves of one account in their order against its limit; null: none. */
export function replay(moves: readonly Move[], limit: number | null): Replayed {
  let [reserved, settled, admitted, admittedPastLimit] = [0, 0, 0, 0];
  for (const move of moves) {
    if (move.was === null) {
      reserved += move.held;
      admitted += 1;
      if (limit !== null && reserved + settled > limit) admittedPastLimit += 1;
      continue;
    }
    if (move.was === 'reserved' && move.state !== 'reserved') reserved -= move.held;
    settled += move.settled - move.before;
  }
  return { reserved, settled, admitted, admittedPastLimit };
}

/** The moves of every account since the log began, by account, each in its order. */
export async function readMoves(database: TestDatabase): Promise<ReadonlyMap<string, readonly Move[]>> {
  const rows = await database.query<Record<'account' | 'attempt' | 'state', string> & Record<string, string | null>>(`
    select m.account, a.attempt, a.state, a.was, a.held::text, coalesce(a.settled, 0)::text as settled,
      coalesce(a.before, 0)::text as before
    from attack.moves m join attack.attempts a on a.tx = m.tx
    where m.account in (a.tenant || '/run/' || a.run, a.tenant || '/' || a.user_account, a.tenant || '/' || a.month_account,
      'product/' || right(a.month_account, 7))
    order by m.seq`);
  const moves = new Map<string, Move[]>();
  for (const row of rows) {
    const own = moves.get(row.account) ?? [];
    moves.set(row.account, own);
    own.push({
      account: row.account,
      attempt: row.attempt,
      state: row.state,
      was: row.was ?? null,
      held: Number(row.held),
      settled: Number(row.settled),
      before: Number(row.before),
    });
  }
  return moves;
}
