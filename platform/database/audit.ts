import { randomBytes } from 'node:crypto';
import { type RawBuilder, sql } from 'kysely';
import { isStewardError } from '#domain/errors.ts';
import type { JsonValue } from '#domain/json.ts';
import { personalHash } from '#platform/audit/chain.ts';
import { canonicalJson } from '#platform/identity/canonical-json.ts';
import { currentIds } from '#platform/telemetry/ids.ts';
import { storableJson, storableText } from './storable.ts';

/** One thing that is decided, done or refused. What names or quotes people belongs into `actor` and `data` only. */
export interface AuditEntry {
  /** The subject of a token, or which service. */
  readonly actor: string;
  /** `<noun>.<what happened>`. */
  readonly action: string;
  readonly run?: string;
  readonly call?: string;
  /** Of the action record. */
  readonly digest?: string;
  readonly tool?: string;
  readonly policySet?: string;
  /** What allowed it: ids of an approval, a decision, an execution grant. */
  readonly grants?: Readonly<Record<string, string>>;
  readonly costMicroUsd?: number;
  /** Where it is left out: that of the work under way. */
  readonly trace?: string;
  /** Erasable: arguments, reasons, before and after. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Columns of audit_log in the order of `auditRows`. */
export const AUDIT_COLUMNS = [
  'tenant',
  'at',
  'actor',
  'action',
  'run_id',
  'call_id',
  'digest',
  'tool',
  'data',
  'salt',
  'entry',
] as const;

/** Rows for `insert into audit_log (AUDIT_COLUMNS)`, with the bytes that will be hashed. */
export function auditRows(tenant: string, entries: readonly AuditEntry[]): RawBuilder<unknown> {
  const rows = entries.map((entry) => {
    const at = new Date();
    const salt = randomBytes(16);
    const actor = storableText(entry.actor);
    const data = storableData(entry.data ?? {});
    const { action, run = null, call = null, digest = null, tool = null } = storable(entry);
    const bytes = canonicalJson({
      v: 1,
      tenant,
      at: at.toISOString(),
      action,
      run,
      call,
      digest,
      tool,
      policySet: entry.policySet ?? null,
      grants: { ...entry.grants },
      costMicroUsd: entry.costMicroUsd ?? null,
      trace: entry.trace ?? currentIds().trace ?? null,
      personal: personalHash(salt, { actor, data }),
    });
    return sql`(${tenant}::text, ${at}::timestamptz, ${actor}::text, ${action}::text, ${run}::text, ${call}::text,
      ${digest}::text, ${tool}::text, ${JSON.stringify(data)}::jsonb, ${salt}::bytea, ${bytes}::text)`;
  });
  return sql`values ${sql.join(rows)}`;
}

function storable(entry: AuditEntry): Pick<AuditEntry, 'action' | 'run' | 'call' | 'digest' | 'tool'> {
  const { action, run, call, digest, tool } = entry;
  return JSON.parse(storableJson({ action, run, call, digest, tool }));
}

/** As jsonb gives it back, so that it is hashed as it will be read. What has no canonical form is kept as its text. */
function storableData(data: Readonly<Record<string, unknown>>): JsonValue {
  const text = storableJson(data);
  const value = JSON.parse(text) as JsonValue;
  try {
    // Hashed one level deeper than it stands.
    canonicalJson({ actor: '', data: value });
    return value;
  } catch (error) {
    if (!isStewardError(error)) throw error;
    return { text };
  }
}
