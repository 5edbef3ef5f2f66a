import type { JsonObject } from './json.ts';

/**
 * One call, exactly. Its canonical bytes (RFC 8785) are the only thing that is approved and executed; their SHA-256 is
 * the digest. Catalogs take tool and arguments from these bytes and from nowhere else.
 */
export interface ActionRecord {
  readonly v: 1;
  readonly kind: 'execute' | 'undo';
  readonly tenant: string;
  readonly run: string;
  /** Steward's call id, `turn.index`. */
  readonly call: string;
  /** The acting user. */
  readonly user: string;
  readonly catalog: string;
  readonly tool: string;
  /** Hash of the tool's descriptor as the agent pinned it. */
  readonly toolHash: string;
  readonly args: JsonObject;
  /** SHA-256 of the preview an approver is shown; null where there is none. */
  readonly previewHash: string | null;
  /** Idempotency key. */
  readonly key: string;
  /** Undo only: the key of the effect to undo. */
  readonly undoOf: string | null;
}
