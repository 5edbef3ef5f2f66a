import type { Generated } from 'kysely';
import type { JsonValue } from '#domain/json.ts';
import type { At, AtOrNull, JsonOrNull, OrNull } from './columns.ts';

/** The tables of the audit log. */
export interface AuditTables {
  audit_log: AuditTable;
  audit_chain: AuditChainTable;
  audit_heads: AuditHeadsTable;
}

export interface AuditTable {
  tenant: string;
  id: Generated<number>;
  at: At;
  /** Null where it was erased, with data and salt. */
  actor: OrNull<string>;
  action: string;
  run_id: OrNull<string>;
  call_id: OrNull<string>;
  digest: OrNull<string>;
  tool: OrNull<string>;
  data: JsonOrNull<JsonValue>;
  salt: OrNull<Buffer>;
  /** The canonical text that is hashed. */
  entry: string;
  /** The transaction that wrote it, in decimals. */
  xid: Generated<string>;
}

export interface AuditChainTable {
  tenant: string;
  number: number;
  audit_id: number;
  prev: Buffer;
  hash: Buffer;
  sealed_at: At;
}

export interface AuditHeadsTable {
  tenant: string;
  number: Generated<number>;
  hash: Generated<Buffer>;
  sealed_below: Generated<string>;
  anchored_number: Generated<number>;
  anchored_at: AtOrNull;
  pruned_number: Generated<number>;
}
