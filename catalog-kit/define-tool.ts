import type { z } from 'zod';
import { StewardError } from '#domain/errors.ts';
import type { JsonObject } from '#domain/json.ts';
import { parseQuantity } from '#domain/quantities.ts';
import { lintSchema } from './lint-schema.ts';
import type { FarTool, Tool, ToolFunctions, ToolSpec, TransactionalTool } from './tool.ts';

const NAME = /^[a-z][a-z0-9_]{0,63}$/;
const VERSION = /^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$/;
const PERMISSION = /^[a-z][a-z0-9_.-]{0,62}(:[a-z0-9_.-]{1,63}){0,3}$/;
const RESOURCE = /^[a-z_]{1,50}\/\{([A-Za-z0-9_]{1,64})\}$/;
const MAX_DESCRIPTION = 4_000;
const MAX_NAMES = 20;
const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 60_000;

/**
 * Checks a tool and makes it ready to be served. Throws CATALOG_BROKEN naming everything that is wrong with it, so that
 * a process with a bad tool does not start.
 */
export function defineTool<Tables, I extends z.ZodObject, O extends z.ZodObject>(spec: ToolSpec<Tables, I, O>): Tool {
  const effectful = spec.effect !== 'none';
  const effect = effectful ? (spec as TransactionalTool<Tables, I, O> | FarTool<Tables, I, O>) : undefined;
  const input = lintSchema(spec.input, true);
  // A far effect cannot be rolled back for an answer that is too large.
  const output = lintSchema(spec.output, spec.effect === 'keyed' || spec.effect === 'unkeyed');
  const tool: Tool = {
    name: spec.name,
    version: spec.version,
    description: spec.description,
    effect: spec.effect,
    risk: spec.risk,
    labels: spec.labels ?? [],
    sensitiveFields: spec.sensitiveFields ?? [],
    redactedFields: spec.redactedFields ?? [],
    resourceKeys: spec.resourceKeys ?? [],
    permissions: spec.permissions ?? [],
    quantities: effect?.quantities ?? [],
    timeoutMs: spec.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    input: spec.input,
    output: spec.output,
    inputSchema: input.json,
    outputSchema: output.json,
    run: spec as unknown as ToolFunctions,
  };
  const faults = [
    ...namesOf(tool),
    ...input.faults.map((fault) => `input: ${fault}`),
    ...output.faults.map((fault) => `output: ${fault}`),
    ...(input.faults.length === 0 ? fieldsOf(tool) : []),
    ...rulesOf(tool),
  ];
  if (faults.length === 0) return Object.freeze(tool);
  throw new StewardError(
    'CATALOG_BROKEN',
    `The tool ${JSON.stringify(spec.name)} cannot be served:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
  );
}

/** `defineTool` for a catalog whose transactions see these tables: `const defineTool = toolsOver<ProjectsTables>()`. */
export function toolsOver<Tables>() {
  return <I extends z.ZodObject, O extends z.ZodObject>(spec: ToolSpec<Tables, I, O>): Tool => defineTool(spec);
}

function* namesOf(tool: Tool): Generator<string> {
  if (!NAME.test(tool.name)) yield `its name does not fit ${NAME.source}`;
  if (!VERSION.test(tool.version)) yield `its version ${JSON.stringify(tool.version)} does not fit ${VERSION.source}`;
  if (tool.description.trim() === '') yield 'it has no description, which is what the model reads';
  if (tool.description.length > MAX_DESCRIPTION) {
    yield `its description has ${tool.description.length} characters; at most ${MAX_DESCRIPTION} are taken`;
  }
  if (!tool.description.isWellFormed()) yield 'its description has broken characters';
  const { timeoutMs } = tool;
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > MAX_TIMEOUT_MS) {
    yield `timeoutMs must be a whole number from 1 to ${MAX_TIMEOUT_MS}, not ${timeoutMs}`;
  }
  for (const permission of tool.permissions) {
    if (!PERMISSION.test(permission))
      yield `the permission ${JSON.stringify(permission)} is no name like projects:read`;
  }
  for (const quantity of tool.quantities) {
    if (parseQuantity(quantity) === null)
      yield `the quantity ${JSON.stringify(quantity)} is none like refund.cents, rows.deleted=1, emails=count(to)`;
  }
  for (const list of [
    'labels',
    'sensitiveFields',
    'redactedFields',
    'resourceKeys',
    'permissions',
    'quantities',
  ] as const) {
    if (new Set<string>(tool[list]).size !== tool[list].length) yield `${list} names something twice`;
    if (tool[list].length > MAX_NAMES) yield `${list} has more than ${MAX_NAMES} entries`;
  }
}

function* fieldsOf(tool: Tool): Generator<string> {
  const properties = (tool.inputSchema.properties ?? {}) as Readonly<Record<string, JsonObject>>;
  for (const list of ['sensitiveFields', 'redactedFields'] as const) {
    for (const field of tool[list]) {
      if (!Object.hasOwn(properties, field)) yield `${list} names ${field}, which is no field of the input`;
    }
  }
  for (const declared of tool.quantities) {
    const from = parseQuantity(declared)?.from;
    if (from?.kind !== 'field' && from?.kind !== 'count') continue;
    const type = from.kind === 'field' ? 'integer' : 'array';
    const schema = Object.hasOwn(properties, from.field) ? properties[from.field] : undefined;
    if (schema?.type !== type) {
      yield `the quantity ${declared} needs an input field ${from.field} that is ${type === 'array' ? 'a list' : 'a whole number'}`;
    }
  }
  for (const template of tool.resourceKeys) {
    const field = RESOURCE.exec(template)?.[1];
    const schema = field === undefined || !Object.hasOwn(properties, field) ? undefined : properties[field];
    if (field === undefined) yield `the resource key ${JSON.stringify(template)} is no template like task/{task_id}`;
    else if (schema === undefined) yield `the resource key ${template} needs an input field ${field}`;
    else if (!namesThings(schema)) yield `the resource key ${template} needs a text, a whole number or a list of texts`;
  }
}

function namesThings(schema: JsonObject): boolean {
  const item = schema.type === 'array' ? ((schema.items ?? {}) as JsonObject) : schema;
  return item.type === 'string' || item.type === 'integer';
}

function* rulesOf(tool: Tool): Generator<string> {
  const { effect, risk, run, labels } = tool;
  const irreversible = risk === 'irreversible';
  if (effect === 'none') {
    if (risk !== 'safe') yield `it has no effect, so its risk is safe, not ${risk}`;
    if (labels.includes('writes')) yield 'it has no effect and is labelled writes';
    if (run.undo !== undefined) yield 'it has no effect, so there is nothing to undo';
    return;
  }
  if (risk === 'safe') yield 'it has an effect, so its risk is cautious, destructive or irreversible';
  if (!labels.includes('writes') && !labels.includes('egress'))
    yield 'it has an effect: label it writes, egress or both';
  if (run.undo === undefined && !irreversible)
    yield 'it has an effect and no undo: give it one, or declare it irreversible';
  if (run.undo !== undefined && irreversible) yield 'it is irreversible and has an undo; it can only be one of the two';
  if (run.preview === undefined && (irreversible || risk === 'destructive')) {
    yield `it is ${risk}, so people are asked: give it a preview that shows them what it would change`;
  }
}
