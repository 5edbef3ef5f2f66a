import type { z } from 'zod';
import type { ActionRecord } from '#domain/action-record.ts';
import { StewardError } from '#domain/errors.ts';
import { resourceKeysOf, withinResources } from '#domain/tools.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { assertGrantCovers, type VerifiedExecutionGrant, type VerifiedRunGrant } from '#platform/identity/grants.ts';
import type { Catalog } from './catalog.ts';
import { forbid } from './refusal.ts';
import type { Tool } from './tool.ts';

/** A call that may be looked at: its record is this run's, and its tool is as the agent pinned it. */
export interface AdmittedCall {
  readonly record: ActionRecord;
  readonly bytes: Uint8Array;
  /** SHA-256 (hex) of the bytes. */
  readonly digest: string;
  readonly grant: VerifiedRunGrant;
  readonly tool: Tool;
  /** As the tool's own schema has parsed them. For undo: as they stand in the record. */
  readonly args: unknown;
}

/**
 * Reads and checks what every call of a tool brings: run grant, action record, tool and arguments. Throws
 * ARGUMENTS_INVALID, GRANT_INVALID, GRANT_EXPIRED, GRANT_MISMATCH, TENANT_MISMATCH, TOOL_UNKNOWN, NOT_PERMITTED,
 * TOOL_CHANGED.
 */
export async function admitCall(
  catalog: Catalog,
  request: { readonly actionRecord: Uint8Array; readonly runGrant: string },
  kind: ActionRecord['kind'],
): Promise<AdmittedCall> {
  const grant = await catalog.runGrants.verify(request.runGrant);
  const bytes = request.actionRecord;
  const record = parseActionRecord(bytes);
  if (record.kind !== kind) {
    throw new StewardError('ARGUMENTS_INVALID', `This is a record of kind ${record.kind}; ${kind} is needed here.`);
  }
  assertOwn(catalog, grant, record);
  const found = catalog.tools.get(record.tool);
  if (found === undefined) {
    throw new StewardError('TOOL_UNKNOWN', `The catalog ${catalog.name} has no tool ${record.tool}.`);
  }
  const granted = Object.hasOwn(grant.tools, catalog.name) ? (grant.tools[catalog.name] ?? []) : [];
  if (!granted.includes(record.tool)) {
    throw new StewardError('NOT_PERMITTED', `This run may not use ${record.tool}.`, { details: { tool: record.tool } });
  }
  if (record.toolHash !== found.descriptor.hash) {
    throw new StewardError(
      'TOOL_CHANGED',
      `${record.tool} is not as the agent pinned it. Apply the agent again, and look at what has changed.`,
      { details: { pinned: record.toolHash, current: found.descriptor.hash } },
    );
  }
  const { tool } = found;
  const args = kind === 'execute' ? parseArguments(tool, record.args) : record.args;
  return { record, bytes, digest: digestOf(bytes), grant, tool, args };
}

function assertOwn(catalog: Catalog, grant: VerifiedRunGrant, record: ActionRecord): void {
  if (record.tenant !== grant.tenant) {
    throw new StewardError('TENANT_MISMATCH', "The action record is another tenant's than the run grant.");
  }
  const pairs = [
    ['run', record.run, grant.run],
    ['user', record.user, grant.user],
    ['catalog', record.catalog, catalog.name],
  ] as const;
  for (const [field, given, needed] of pairs) {
    if (given === needed) continue;
    throw new StewardError('GRANT_MISMATCH', `The action record is for another ${field}.`, { details: { field } });
  }
}

function parseArguments(tool: Tool, args: unknown): unknown {
  const parsed = tool.input.safeParse(args);
  if (parsed.success) return parsed.data;
  const why = parsed.error.issues.slice(0, 5).map(describeIssue);
  throw new StewardError('ARGUMENTS_INVALID', `The arguments do not fit ${tool.name}: ${why.join('; ')}.`, {
    details: { tool: tool.name, path: parsed.error.issues[0]?.path.join('.') ?? '' },
  });
}

function describeIssue(issue: z.core.$ZodIssue): string {
  return `${issue.path.join('.') || 'the whole'}: ${issue.message}`;
}

/**
 * Verifies that every execution grant is for exactly this call, here and now. Throws GRANT_INVALID, GRANT_EXPIRED,
 * GRANT_MISMATCH.
 */
export async function verifyExecutionGrants(
  catalog: Catalog,
  call: AdmittedCall,
  tokens: readonly string[],
): Promise<readonly VerifiedExecutionGrant[]> {
  if (tokens.length === 0) {
    throw new StewardError('GRANT_INVALID', "An execution grant of the guard's is missing. Nothing runs without one.");
  }
  if (tokens.length > 4) throw new StewardError('GRANT_INVALID', 'At most 4 execution grants are taken.');
  const grants = await Promise.all(tokens.map((token) => catalog.executionGrants.verify(token)));
  for (const grant of grants) assertGrantCovers(grant, call.record, call.digest);
  return grants;
}

/** Refuses (as the domain does) what the user may not do, and what lies outside of the run's narrowing. */
export function requireLeave(call: AdmittedCall): void {
  const { tool, grant } = call;
  for (const permission of tool.permissions) {
    if (grant.permissions.includes(permission)) continue;
    throw forbid(
      'NOT_PERMITTED',
      `${tool.name} needs the permission ${permission}, which ${grant.user} does not have.`,
    );
  }
  const keys = resourceKeysOf(tool.resourceKeys, call.record.args);
  const outside = keys.find((key) => !withinResources(grant.resources, [key]));
  if (outside !== undefined) throw outsideOfRun(outside);
}

/** The refusal of a resource that the run's narrowing leaves out. */
export function outsideOfRun(resource: string): Error {
  return forbid('RESOURCE_DENIED', `This run is narrowed to other resources and may not touch ${resource}.`);
}
