import type { ActionRecord } from '#domain/action-record.ts';
import { type ErrorCode, isStewardError, StewardError } from '#domain/errors.ts';
import { callIdOf, keyOf } from '#domain/ids.ts';
import type { JsonObject, JsonValue } from '#domain/json.ts';
import { amountsOf, needsPreview, quantityName } from '#domain/quantities.ts';
import { type Change, keptKeys, resourceKeysOf, type ToolDescriptor } from '#domain/tools.ts';
import { judgeRisk, type Tier } from '#domain/verdict.ts';
import type { ProposedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { canonicalBytes } from '#platform/identity/action-record.ts';
import { callSignature } from '#platform/identity/call-signature.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import type { VerifiedRunGrant } from '#platform/identity/grants.ts';
import { compileSchema } from '#platform/policy/tool-schema.ts';
import { type Catalogs, isRefusal } from '../catalogs.ts';
import type { PinnedTools } from '../pins.ts';
import { plainText } from '../plain-text.ts';
import { isOutside, type RunRow } from '../runs.ts';
import { type ReadArguments, readArguments } from './arguments.ts';

/** Bytes of an action record that a person can be asked about: it is shown whole, in one message with its preview. */
export const MAX_ASKED_BYTES = 262_144;

/** What all calls of one turn are judged by. */
export interface Turn {
  readonly grant: VerifiedRunGrant;
  /** The grant as it came: catalogs verify it themselves. */
  readonly runGrant: string;
  readonly run: RunRow;
  readonly tools: PinnedTools;
  readonly number: number;
  readonly signal: AbortSignal;
}

/** The bytes a call would run as. */
export interface Recorded {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly key: string;
}

/** What a call spends, by quantity: every one that its tool declares. */
export type Spends = Readonly<Record<string, number>>;

export type Finding =
  | {
      readonly verdict: 'deny';
      readonly code: ErrorCode;
      readonly reason: string;
      /** Told to the model beside code and reason. */
      readonly details?: Readonly<Record<string, unknown>>;
      readonly why: readonly string[];
    }
  | {
      readonly verdict: 'allow';
      readonly why: readonly string[];
      readonly record: Recorded;
      readonly spends: Spends;
      /** Where it had to be asked for, because only the catalog knows what the call spends. */
      readonly preview: Change | null;
    }
  | {
      readonly verdict: 'ask';
      readonly tier: Tier;
      readonly why: readonly string[];
      readonly record: Recorded;
      readonly spends: Spends;
      readonly preview: Change | null;
      readonly previewError: string | null;
    };

/** One proposed call with what is known of it before it is judged. */
export interface Examined {
  readonly call: ProposedCall;
  readonly index: number;
  readonly read: ReadArguments;
  readonly sig: string;
  readonly tool: ToolDescriptor | undefined;
  readonly keys: readonly string[];
  /** Set where it is denied whatever the limits still allow. */
  readonly denied: (Finding & { readonly verdict: 'deny' }) | undefined;
}

export function deny(
  code: ErrorCode,
  reason: string,
  details?: Readonly<Record<string, unknown>>,
): Finding & { verdict: 'deny' } {
  const text = plainText(reason, 2_000);
  return {
    verdict: 'deny',
    code,
    reason: text,
    ...(details ? { details } : {}),
    why: [`${code}: ${text}`.slice(0, 500)],
  };
}

/** What can be said of a call without asking anyone. */
export function examine(turn: Turn, call: ProposedCall, index: number): Examined {
  const read = readArguments(call);
  const tool = turn.tools.get(call.tool);
  const known = read.faults === undefined && tool !== undefined;
  return {
    call,
    index,
    read,
    sig: callSignature(call.tool, call.argsJson || call.malformed),
    tool,
    keys: known ? resourceKeysOf(tool.resourceKeys, read.args) : [],
    denied: deniedAtOnce(turn, call, index, read, tool),
  };
}

function deniedAtOnce(
  turn: Turn,
  call: ProposedCall,
  index: number,
  read: ReadArguments,
  tool: ToolDescriptor | undefined,
): (Finding & { verdict: 'deny' }) | undefined {
  if (read.faults) return argumentsInvalid(call.tool, read.faults);
  if (!tool) {
    const tools = [...turn.tools.keys()].toSorted();
    const has = tools.length === 0 ? 'It has none.' : `It has: ${tools.join(', ')}.`;
    return deny('TOOL_UNKNOWN', `This run has no tool of that name. ${has}`, { tools });
  }
  const most = turn.run.limits.toolCallsPerTurn;
  if (index < most) return undefined;
  return deny('TOO_MANY_CALLS', `At most ${most} calls are taken in one turn. Propose it again in the next one.`, {
    most,
  });
}

function argumentsInvalid(tool: string, faults: readonly string[]): Finding & { verdict: 'deny' } {
  const text = `The arguments do not fit ${tool.slice(0, 64)}: ${faults.join('; ')}.`;
  return deny('ARGUMENTS_INVALID', text, { faults: faults.map((fault) => plainText(fault, 500)) });
}

/** Judges a call that was not denied at once. Asks its catalog; has no effect. Throws where the catalog cannot be asked. */
export async function assess(turn: Turn, examined: Examined, catalogs: Catalogs): Promise<Finding> {
  const { tool, read, keys } = examined;
  if (!tool || read.faults) throw new StewardError('INTERNAL', 'A call without tool or arguments cannot be assessed.');
  const faults = compileSchema(tool.inputSchema)(read.args);
  if (faults.length > 0) return argumentsInvalid(tool.name, faults);
  if ((await catalogs.currentHash(tool.catalog, tool.name)) !== tool.hash) return toolChanged(tool.name);
  if (isOutside(turn.run, turn.grant, keys)) {
    const allowed = [...new Set([...turn.run.resources, ...turn.grant.resources])];
    return deny('RESOURCE_DENIED', `This run may touch ${allowed.join(', ')} only.`, { resources: keptKeys(keys) });
  }
  const verdict = judgeRisk(tool);
  if (verdict.kind === 'deny') return { ...deny(verdict.code, verdict.reason), why: verdict.why };
  let record: Recorded;
  try {
    record = recordOf(turn, examined.index, tool, read.args, null);
  } catch (error) {
    if (isStewardError(error) && error.code === 'ARGUMENTS_INVALID') return deny(error.code, error.message);
    throw error;
  }
  if (verdict.kind === 'allow') return allow(turn, { tool, args: read.args, record, why: verdict.why }, catalogs);
  if (record.bytes.length > MAX_ASKED_BYTES) {
    return tooLongToAsk();
  }
  return ask(turn, examined.index, { tool, args: read.args, record, tier: verdict.tier, why: verdict.why }, catalogs);
}

export function tooLongToAsk(): Finding & { verdict: 'deny' } {
  return deny(
    'ARGUMENTS_INVALID',
    'The arguments are too long to be shown to the person who must approve. Shorten them.',
  );
}

export function toolChanged(tool: string): Finding & { verdict: 'deny' } {
  return deny(
    'TOOL_CHANGED',
    `${tool} has changed since this agent was set up and cannot be used in this run. Do without it.`,
  );
}

interface Allowed {
  readonly tool: ToolDescriptor;
  readonly args: JsonObject;
  /** Of the call without a preview. */
  readonly record: Recorded;
  readonly why: readonly string[];
}

interface Question extends Allowed {
  readonly tier: Tier;
}

/** What it spends is known before it may begin: from its arguments, or from what its catalog says it would do. */
async function allow(turn: Turn, call: Allowed, catalogs: Catalogs): Promise<Finding> {
  const { tool, args, record, why } = call;
  let preview: Change | null = null;
  if (needsPreview(tool.quantities) && tool.hasPreview) {
    const request = { actionRecord: record.bytes, runGrant: turn.runGrant };
    try {
      preview = (await catalogs.preview(tool.catalog, request, turn.signal)).change;
    } catch (error) {
      if (isRefusal(error)) return refused(tool.name, error);
      throw error;
    }
  }
  const spends = amountsOf(tool.quantities, args, preview?.quantities ?? null);
  return spends === null ? spendsUnknown(tool) : { verdict: 'allow', why, record, spends, preview };
}

function spendsUnknown(tool: ToolDescriptor): Finding {
  const names = tool.quantities.map(quantityName).join(', ');
  return deny(
    'QUANTITY_UNKNOWN',
    `How much of ${names} this call of ${tool.name} would spend cannot be told, so it is not made. Do without it.`,
  );
}

/** Gets the preview an approver is shown. A call the catalog already refuses is denied: approval could not help. */
async function ask(turn: Turn, index: number, question: Question, catalogs: Catalogs): Promise<Finding> {
  const { tool, args, record, tier, why } = question;
  const asked = { verdict: 'ask', tier, why } as const;
  const told = { preview: null as Change | null, previewError: null as string | null, record };
  if (tool.hasPreview) {
    try {
      const request = { actionRecord: record.bytes, runGrant: turn.runGrant };
      const { change, cut } = await catalogs.preview(tool.catalog, request, turn.signal);
      [told.preview, told.previewError] = [change, cut];
      told.record = withPreview(turn, index, tool, args, change);
    } catch (error) {
      if (isRefusal(error)) return refused(tool.name, error);
      // A preview that cannot be read will not be readable tomorrow: the person is told, and decides without it.
      if (!(isStewardError(error) && error.code === 'CATALOG_BROKEN')) throw error;
      told.previewError = error.message.slice(0, 500);
    }
  }
  const spends = amountsOf(tool.quantities, args, told.preview?.quantities ?? null);
  return spends === null ? spendsUnknown(tool) : { ...asked, ...told, spends };
}

/** The bytes of a call together with what its approver is shown. */
export function withPreview(
  turn: Turn,
  index: number,
  tool: ToolDescriptor,
  args: JsonObject,
  preview: Change,
): Recorded {
  return recordOf(turn, index, tool, args, hashOf(preview, tool.catalog));
}

function refused(tool: string, error: StewardError): Finding {
  // A catalog without the tool, or with another one, is no fault of the model's.
  if (error.code === 'TOOL_UNKNOWN' || error.code === 'TOOL_CHANGED') return toolChanged(tool);
  const code =
    error.code === 'INVALID_REQUEST' ? 'ARGUMENTS_INVALID' : error.code === 'WRONG_STATE' ? 'TOOL_REFUSED' : error.code;
  const { refusal } = error.details;
  return deny(code, error.message, typeof refusal === 'string' ? { refusal: plainText(refusal, 100) } : {});
}

function hashOf(preview: Change, catalog: string): string {
  try {
    return digestOf(canonicalJson(preview as unknown as JsonValue));
  } catch (cause) {
    throw new StewardError('CATALOG_BROKEN', `Catalog ${catalog} previews values that have no canonical form.`, {
      cause,
    });
  }
}

function recordOf(
  turn: Turn,
  index: number,
  tool: ToolDescriptor,
  args: JsonObject,
  previewHash: string | null,
): Recorded {
  const call = callIdOf(turn.number, index);
  const record: ActionRecord = {
    v: 1,
    kind: 'execute',
    tenant: turn.grant.tenant,
    run: turn.grant.run,
    call,
    user: turn.grant.user,
    catalog: tool.catalog,
    tool: tool.name,
    toolHash: tool.hash,
    args,
    previewHash,
    key: keyOf(turn.grant.run, call),
    undoOf: null,
  };
  const bytes = canonicalBytes(record);
  return { bytes, digest: digestOf(bytes), key: record.key };
}
