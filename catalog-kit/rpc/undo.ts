import { StewardError } from '#domain/errors.ts';
import type { Change } from '#domain/tools.ts';
import type { UndoRequest } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { type AdmittedCall, admitCall, requireLeave, verifyExecutionGrants } from '../admission.ts';
import { newAttempt, withinTimeout } from '../attempt.ts';
import type { Catalog } from '../catalog.ts';
import { sameJson } from '../change.ts';
import { toolContext } from '../context.ts';
import type { KitTransaction } from '../database.ts';
import { intentFirst } from '../far.ts';
import { type Answer, answering, checkedChange } from '../outcome.ts';
import type { Outcome } from '../receipts.ts';
import type { Recorded, ToolContext } from '../tool.ts';
import { inOneTransaction } from '../transactional.ts';

/**
 * Undoes the effect recorded under a key, once: under its own key, which hangs on the effect's, so that two undos of one
 * effect are one. Receipts never change, so the one that is read here stands.
 */
export async function undo(catalog: Catalog, ctx: CallContext, request: UndoRequest): Promise<Answer> {
  const call = await admitCall(catalog, request, 'undo');
  const grants = await verifyExecutionGrants(catalog, call, request.executionGrants);
  const { tool } = call;
  const run = tool.run.undo?.bind(tool.run);
  if (run === undefined) throw new StewardError('WRONG_STATE', `${tool.name} has no undo.`);
  const takeBack = async (toolCtx: ToolContext, recorded: Recorded<unknown, unknown>): Promise<Outcome> => {
    const change: Change = checkedChange(tool, await run(toolCtx, recorded));
    return { result: '{"undone":true}', change, undoable: false };
  };
  return await answering(async () => {
    requireLeave(call);
    return await withinTimeout(ctx, tool, async (bounds) => {
      const attempt = newAttempt(catalog, { call, grants, bounds });
      if (tool.effect === 'transactional') {
        return await inOneTransaction(catalog, attempt, async (trx) =>
          takeBack(toolContext(call, bounds, trx), await recordedOf(catalog, call, trx)),
        );
      }
      return await intentFirst(catalog, attempt, {
        prepare: (trx) => recordedOf(catalog, call, trx),
        act: (recorded) => takeBack(toolContext(call, bounds), recorded),
      });
    });
  });
}

/** The effect to undo as it was recorded. Throws WRONG_STATE where nothing was done, or not by this tool. */
async function recordedOf(
  catalog: Catalog,
  call: AdmittedCall,
  trx: KitTransaction,
): Promise<Recorded<unknown, unknown>> {
  const { tool, record } = call;
  const key = record.undoOf ?? '';
  const done = await catalog.receipts.find(trx, key);
  if (done?.state !== 'done')
    throw new StewardError('WRONG_STATE', `Nothing was done under ${key}, or not surely yet.`);
  if (done.tool !== tool.name) {
    throw new StewardError('WRONG_STATE', `What was done under ${key} was done by ${done.tool}, not ${tool.name}.`);
  }
  if (!done.undoable) throw new StewardError('WRONG_STATE', `What was done under ${key} cannot be undone.`);
  const original = parseActionRecord(done.actionRecord);
  if (Object.keys(record.args).length > 0 && !sameJson(record.args, original.args)) {
    throw new StewardError('ARGUMENTS_INVALID', 'The arguments of an undo are none, or those of the call it undoes.');
  }
  // The tool may have changed since; what it recorded must still mean the same to it.
  const args = tool.input.safeParse(original.args);
  const result = tool.output.safeParse(JSON.parse(done.result));
  if (!args.success || !result.success) {
    throw new StewardError(
      'TOOL_CHANGED',
      `${tool.name} has changed since and does not know what it did under ${key}.`,
    );
  }
  return { args: args.data, result: result.data, change: done.change };
}
