import { sql, type Transaction } from 'kysely';
import type { Database } from '#platform/database/tables.ts';

/** One part of a bundle: rows of one table, in a stable order. `$run` stands for the run. */
interface Section {
  readonly name: string;
  readonly from: string;
  readonly where: 'run' | 'agent';
  readonly order: string;
}

/** Everything that is on record of a run. A table that is new belongs here. */
const SECTIONS: readonly Section[] = [
  { name: 'run', from: 'agent_runs', where: 'run', order: 'id' },
  { name: 'agent', from: 'agents', where: 'agent', order: 'hash' },
  { name: 'message', from: 'agent_run_messages', where: 'run', order: 'number' },
  { name: 'step', from: 'agent_run_steps', where: 'run', order: 'number' },
  { name: 'call', from: 'agent_run_tool_invocations', where: 'run', order: 'turn, ordinal' },
  { name: 'approval', from: 'approvals', where: 'run', order: 'created_at, id' },
  { name: 'decision', from: 'approval_decisions', where: 'run', order: 'decided_at, id' },
  { name: 'cost', from: 'agent_run_costs', where: 'run', order: 'turn, attempt_id' },
  { name: 'quantity', from: 'quantity_windows', where: 'run', order: 'call_id, quantity' },
  { name: 'ledger', from: 'ledger_entries', where: 'run', order: 'id' },
  { name: 'event', from: 'agent_run_events', where: 'run', order: 'sequence' },
  { name: 'undo', from: 'agent_run_undos', where: 'run', order: 'created_at, id' },
  { name: 'undo_step', from: 'agent_run_undo_steps', where: 'run', order: 'undo_id, ordinal' },
  { name: 'investigation', from: 'investigations', where: 'run', order: 'run_id' },
  { name: 'investigation_note', from: 'investigation_notes', where: 'run', order: 'number' },
  { name: 'audit', from: 'audit_log', where: 'run', order: 'id' },
];
/** Rows held at once: each may be as long as a tool's result. */
const PAGE = 50;

/** A bearer grant, with which its reader could act; and what would make references to erased people guessable. */
const SECRET = ['run_grant', 'salt'];

/** Lines of all sections, a page at a time, each page in a transaction of its own. */
export async function* linesOf(
  run: string,
  inTenant: <T>(work: (trx: Transaction<Database>) => Promise<T>) => Promise<T>,
): AsyncGenerator<readonly string[], void, undefined> {
  for (const section of SECTIONS) {
    for (let after = 0; ; after += PAGE) {
      const lines = await inTenant((trx) => pageOf(trx, section, run, after));
      if (lines.length > 0) yield lines;
      if (lines.length < PAGE) break;
    }
  }
}

async function pageOf(trx: Transaction<Database>, section: Section, run: string, after: number): Promise<string[]> {
  const { from, where, order, name } = section;
  const column = from === 'agent_runs' ? 'id' : 'run_id';
  const condition =
    where === 'agent'
      ? sql`(t.name, t.hash) = (select r.agent, r.agent_hash from agent_runs r where r.id = ${run})`
      : sql`t.${sql.ref(column)} = ${run}`;
  // The rows' own JSON columns keep their spelling: json, unlike jsonb, rewrites nothing.
  const { rows } = await sql<{ row: Record<string, unknown>; at: Date }>`
    select row_to_json(t) as row, clock_timestamp() as at from ${sql.table(from)} t
    where ${condition} order by ${sql.raw(order)} limit ${PAGE} offset ${after}`.execute(trx);
  return rows.map(({ row, at }) => {
    const shown = Object.fromEntries(Object.entries(row).filter(([key]) => !SECRET.includes(key)));
    return JSON.stringify({ section: name, readAt: at.toISOString(), row: shown });
  });
}
