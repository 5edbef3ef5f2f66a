import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type { Change } from '#domain/tools.ts';
import { ExecuteResponseSchema, type ReceiptSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { MAX_MESSAGE_BYTES } from '#platform/grpc/server.ts';
import { faultOfChange, toProtoChange } from './change.ts';
import type { Done, Known, Outcome } from './receipts.ts';
import { isRefusal, refuse, type ToolRefusal } from './refusal.ts';
import type { Effect, Tool } from './tool.ts';

type ReceiptInit = MessageInitShape<typeof ReceiptSchema>;

/** What Execute and Undo answer. */
export interface Answer {
  readonly outcome:
    | { readonly case: 'receipt'; readonly value: ReceiptInit }
    | { readonly case: 'refusal'; readonly value: { readonly code: string; readonly message: string } };
}

/** A stored outcome as it goes over the wire. */
export function toReceipt(
  done: Pick<Done, 'key' | 'digest' | 'result' | 'undoable'> & { change?: Change },
  repeated: boolean,
) {
  const { key, digest, result, undoable, change } = done;
  const receipt: ReceiptInit = { key, digest, resultJson: result, undoable, repeated };
  return change === undefined ? receipt : { ...receipt, change: toProtoChange(change) };
}

/** The answer of a call that took place, or had taken place before. */
export function receiptAnswer(...given: Parameters<typeof toReceipt>): Answer {
  return { outcome: { case: 'receipt', value: toReceipt(...given) } };
}

function refusalAnswer(refusal: ToolRefusal): Answer {
  return { outcome: { case: 'refusal', value: { code: refusal.code, message: refusal.message } } };
}

/** Runs the work of an Execute or Undo; a refusal thrown in it becomes its answer. */
export async function answering(work: () => Promise<Answer>): Promise<Answer> {
  try {
    return await work();
  } catch (error) {
    if (isRefusal(error)) return refusalAnswer(error);
    throw error;
  }
}

/** The JSON text of a result that fits the tool's own output schema. Throws CATALOG_BROKEN. */
export function packResult(tool: Tool, result: unknown): string {
  const parsed = tool.output.safeParse(result);
  if (parsed.success) return JSON.stringify(parsed.data);
  const issue = parsed.error.issues[0];
  throw broken(tool, `its result does not fit its output schema (${issue?.path.join('.')}: ${issue?.message})`);
}

/** What is stored of an effect. Throws CATALOG_BROKEN where the tool breaks its own word. */
export function packEffect(tool: Tool, effect: unknown): Outcome {
  const { result, change } = effect as Effect<unknown>;
  const packed = { result: packResult(tool, result), change: checkedChange(tool, change), undoable: false };
  return { ...packed, undoable: tool.run.undo !== undefined };
}

/** A change the tool may show. Throws CATALOG_BROKEN. */
export function checkedChange(tool: Tool, change: Change): Change {
  const fault = faultOfChange(tool, change);
  if (fault !== null) throw broken(tool, fault);
  return change;
}

function broken(tool: Tool, why: string): StewardError {
  return new StewardError('CATALOG_BROKEN', `${tool.name} does not keep its own word: ${why}. Tell its team.`);
}

/** Refuses an answer that could not be sent, while the effect can still be rolled back. */
export function assertSendable(answer: Answer): void {
  const bytes = toBinary(ExecuteResponseSchema, create(ExecuteResponseSchema, { outcome: answer.outcome })).length;
  // Repeated, it carries a flag more.
  if (bytes + 2 <= MAX_MESSAGE_BYTES) return;
  throw refuse(
    'RESULT_TOO_LARGE',
    `The result would have ${bytes} bytes; at most ${MAX_MESSAGE_BYTES} are sent. Ask for less: filter, or take a smaller page.`,
  );
}

/**
 * What is known under a claimed key, for a caller that comes with `digest`: the receipt, an intent to look at, or a
 * throw of KEY_REUSED or TOMBSTONED.
 */
export function assertSame<K extends Known>(known: K, digest: string): Exclude<K, { state: 'tombstone' }> {
  if (known.digest !== digest) {
    throw new StewardError('KEY_REUSED', `The key ${known.key} was used with another action record.`);
  }
  if (known.state === 'tombstone') {
    throw new StewardError('TOMBSTONED', `The key ${known.key} was settled as never taking effect. Nothing was done.`);
  }
  return known as Exclude<K, { state: 'tombstone' }>;
}
