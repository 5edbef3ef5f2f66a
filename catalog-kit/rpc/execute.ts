import { StewardError } from '#domain/errors.ts';
import type { ExecuteRequest } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { VerifiedExecutionGrant } from '#platform/identity/grants.ts';
import { admitCall, requireLeave, verifyExecutionGrants } from '../admission.ts';
import { type Attempt, newAttempt, withinTimeout } from '../attempt.ts';
import type { Catalog } from '../catalog.ts';
import { toolContext } from '../context.ts';
import { inTransaction } from '../database.ts';
import { intentFirst } from '../far.ts';
import { type Answer, answering, assertSendable, packEffect, packResult, receiptAnswer } from '../outcome.ts';
import type { Outcome } from '../receipts.ts';
import { refuse } from '../refusal.ts';
import { inOneTransaction } from '../transactional.ts';

/** Carries out a call, once per key. */
export async function execute(catalog: Catalog, ctx: CallContext, request: ExecuteRequest): Promise<Answer> {
  const call = await admitCall(catalog, request, 'execute');
  const grants = await verifyExecutionGrants(catalog, call, request.executionGrants);
  const { tool, args } = call;
  return await answering(async () => {
    requireLeave(call);
    return await withinTimeout(ctx, tool, async (bounds) => {
      const attempt = newAttempt(catalog, { call, grants, bounds });
      switch (tool.effect) {
        case 'none':
          return await read(catalog, attempt);
        case 'transactional':
          return await inOneTransaction(catalog, attempt, async (trx) => {
            const toolCtx = toolContext(call, bounds, trx);
            await tool.run.check?.(toolCtx, args);
            return withinGrants(packEffect(tool, await tool.run.execute(toolCtx, args)), grants);
          });
        case 'keyed':
        case 'unkeyed':
          return await intentFirst(catalog, attempt, {
            prepare: async (trx, first) => {
              const toolCtx = toolContext(call, bounds, trx);
              await tool.run.check?.(toolCtx, args);
              // What is sent far away cannot be rolled back: what it would spend by now is looked at before.
              if (first && tool.run.preview !== undefined && grants.some(({ most }) => most !== undefined)) {
                assertWithin((await tool.run.preview(toolCtx, args)).quantities, grants);
              }
            },
            act: async () => packEffect(tool, await tool.run.execute(toolContext(call, bounds), args)),
          });
      }
    });
  });
}

/** Refuses an effect that would spend more than was judged, shown and reserved, while it can still be rolled back. */
function withinGrants(outcome: Outcome, grants: readonly VerifiedExecutionGrant[]): Outcome {
  assertWithin(outcome.change.quantities, grants);
  return outcome;
}

function assertWithin(quantities: Readonly<Record<string, number>>, grants: readonly VerifiedExecutionGrant[]): void {
  for (const [quantity, amount] of Object.entries(quantities)) {
    for (const { most } of grants) {
      if (most === undefined) continue;
      const granted = Object.hasOwn(most, quantity) ? (most[quantity] ?? 0) : 0;
      if (amount <= granted) continue;
      throw refuse(
        'QUANTITY_EXCEEDED',
        `It would spend ${amount} ${quantity} by now, where ${granted} were looked at. Propose it again.`,
      );
    }
  }
}

/** A read leaves nothing behind, so it may be repeated; but not under a key that was settled as never to run. */
async function read(catalog: Catalog, attempt: Attempt): Promise<Answer> {
  const { call, bounds } = attempt;
  const { tool, args, digest } = call;
  const { key } = call.record;
  return await inTransaction(catalog.db, call.grant.tenant, bounds, 'read', async (trx) => {
    if ((await catalog.receipts.find(trx, key))?.state === 'tombstone') {
      throw new StewardError('TOMBSTONED', `The key ${key} was settled as never taking effect.`);
    }
    const toolCtx = toolContext(call, bounds, trx);
    await tool.run.check?.(toolCtx, args);
    const result = packResult(tool, await tool.run.execute(toolCtx, args));
    const answer = receiptAnswer({ key, digest, result, undoable: false }, false);
    assertSendable(answer);
    return answer;
  });
}
