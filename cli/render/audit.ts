import type { AuditEntry } from '#gen/steward/audit/v1/audit_service_pb.ts';
import type { ChainRecord } from '#platform/audit/verify.ts';
import type { Look } from './look.ts';
import { type Column, table } from './table.ts';
import { oneLine } from './text.ts';
import { when } from './time.ts';

/** Entries as a table, in the order given. */
export function auditTable(list: readonly AuditEntry[], look: Look): readonly string[] {
  const columns: readonly Column<AuditEntry>[] = [
    { title: 'NUMBER', cell: (one) => (one.number === 0n ? 'unsealed' : String(one.number)) },
    { title: 'AT', cell: (one) => when(one.at, look) },
    { title: 'WHO', cell: (one) => oneLine(one.actor) || '(erased)', shrinks: true },
    { title: 'WHAT', cell: (one) => oneLine(one.action) },
    { title: 'TOOL', cell: (one) => oneLine(one.tool), shrinks: true },
    { title: 'RUN', cell: (one) => oneLine(one.runId) },
    { title: 'CALL', cell: (one) => oneLine(one.callId) },
    { title: 'DATA', cell: (one) => oneLine(one.dataJson), shrinks: true },
  ];
  return table(columns, list, look);
}

/** The columns of `auditCsv`. */
export const AUDIT_CSV_HEAD = 'number,at,actor,action,tool,run,call,digest,data,hash';

/** One record as a line of CSV. What a spreadsheet would take for a formula begins with an apostrophe. */
export function auditCsv({ number, entry, hash, personal }: ChainRecord): string {
  const said = entry === null ? {} : (JSON.parse(entry) as Record<string, unknown>);
  const data = personal === null ? '' : JSON.stringify(personal.data);
  const { at, action, tool, run, call, digest } = said;
  const cells = [number, at, personal?.actor, action, tool, run, call, digest, data, Buffer.from(hash).toString('hex')];
  return cells.map((cell) => csvCell(String(cell ?? ''))).join(',');
}

function csvCell(text: string): string {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
