import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import canonicalize from 'canonicalize';
import type { ActionRecord } from '#domain/action-record.ts';
import { StewardError } from '#domain/errors.ts';
import type { Change } from '#gen/steward/common/v1/change_pb.ts';
import type { Approval, GetApprovalResponse } from '#gen/steward/guard/v1/approval_service_pb.ts';

/** An approval whose digest was found to cover what it shows. */
export interface CheckedApproval {
  readonly approval: Approval;
  /** The arguments out of the action record: what will run. */
  readonly argsJson: string;
}

/**
 * Makes sure that a person is shown what the digest covers: the action record has that digest, is canonical, says what
 * the approval says, and names the preview. Throws DIGEST_MISMATCH where it does not; then nothing may be decided.
 */
export function checkApproval({ approval, actionRecord }: GetApprovalResponse): CheckedApproval {
  if (approval === undefined) throw new StewardError('INTERNAL', 'The guard answered without an approval.');
  const digest = sha256(actionRecord);
  if (digest !== approval.digest) throw mismatch('its digest is not that of the action record');
  const record = readCanonical(actionRecord);
  const claimed = {
    kind: 'execute',
    run: approval.runId,
    call: approval.callId,
    user: approval.actingUser,
    catalog: approval.catalog,
    tool: approval.tool,
  } as const satisfies Partial<ActionRecord>;
  for (const [name, value] of Object.entries(claimed)) {
    if (record[name as keyof typeof claimed] !== value) throw mismatch(`the action record says another ${name}`);
  }
  if (!isDeepStrictEqual(record.args, parse(approval.argsJson))) {
    throw mismatch('the action record says other arguments');
  }
  if (record.previewHash !== hashOf(approval.preview)) throw mismatch('the action record is about another preview');
  return { approval, argsJson: JSON.stringify(record.args) };
}

/** SHA-256 of the canonical bytes of a preview, as the guard takes it; null where there is no preview. */
function hashOf(preview: Change | undefined): string | null {
  if (preview === undefined) return null;
  const { summary } = preview;
  const fields = preview.fields.map(({ record, field, beforeJson, afterJson }) => ({
    record,
    field,
    ...(beforeJson === '' ? {} : { before: parse(beforeJson) }),
    ...(afterJson === '' ? {} : { after: parse(afterJson) }),
  }));
  const quantities = Object.fromEntries(
    Object.entries(preview.quantities).map(([unit, amount]) => [unit, Number(amount)]),
  );
  return sha256(canonicalize({ summary, fields, quantities }) ?? '');
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function readCanonical(bytes: Uint8Array): ActionRecord {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const value = JSON.parse(text) as ActionRecord;
    if (canonicalize(value) === text && typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw mismatch('the action record cannot be read', cause);
  }
  throw mismatch('the action record is not canonical');
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function mismatch(why: string, cause?: unknown): StewardError {
  return new StewardError(
    'DIGEST_MISMATCH',
    `The guard shows an approval that does not hold together: ${why}. Nothing was decided; tell whoever runs Steward.`,
    cause === undefined ? {} : { cause },
  );
}
