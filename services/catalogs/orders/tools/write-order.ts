import { z } from 'zod';
import type { Tool, TransactionalTool } from '#catalog-kit/tool.ts';
import { type Context, defineTool, order, orderId, type User, WRITE } from '../schemas.ts';
import { carryOut, changeOf, ownerOf, type Plan, requireOrder, takeBack } from '../store.ts';
import type { OrdersTables } from '../tables.ts';

interface OrderWrite<I extends z.ZodRawShape> {
  readonly name: string;
  readonly description: string;
  readonly risk: 'cautious' | 'destructive';
  readonly input: I;
  readonly sensitiveFields?: readonly (keyof z.output<z.ZodObject<I>> & string)[];
  readonly quantities?: readonly string[];
  readonly action: string;
  /** It can be undone only as long as the order could still be changed so. */
  readonly undoWhilePending?: boolean;
  /** What the call does to the order as it stands, or its refusal. Reads only. */
  plan(
    ctx: Context,
    order: Plan['order'],
    owner: User,
    args: z.output<z.ZodObject<I>>,
  ): Promise<Omit<Plan, 'order'>> | Omit<Plan, 'order'>;
}

const output = z.strictObject({ order });

/**
 * A tool that changes one order and moves its owner's money, and answers with the order: preview and effect come of the
 * same plan, and undo puts both back.
 */
export function writeOrder<I extends z.ZodRawShape>(spec: OrderWrite<I>): Tool {
  const { plan, action, input, undoWhilePending = false, ...described } = spec;
  const planned = async (ctx: Context, args: Record<string, unknown>, lock: boolean) => {
    const before = await requireOrder(ctx, String(args.order_id), { lock });
    const owner = await ownerOf(ctx, before.user_id, lock);
    return { owner, plan: { order: before, ...(await plan(ctx, before, owner, args as z.output<z.ZodObject<I>>)) } };
  };
  const tool = {
    ...WRITE,
    ...described,
    input: z.strictObject({ order_id: orderId, ...input }),
    output,
    effect: 'transactional',
    resourceKeys: ['order/{order_id}'],
    async preview(ctx: Context, args: Record<string, unknown>) {
      const { plan: what, owner } = await planned(ctx, args, false);
      return changeOf(what, owner);
    },
    async execute(ctx: Context, args: Record<string, unknown>) {
      const { plan: what, owner } = await planned(ctx, args, true);
      const done = await carryOut(ctx, what, owner, action);
      return { result: { order: done.order }, change: done.change };
    },
    async undo(
      ctx: Context,
      recorded: { readonly args: Record<string, unknown>; readonly change: Parameters<typeof takeBack>[2] },
    ) {
      return await takeBack(ctx, String(recorded.args.order_id), recorded.change, undoWhilePending);
    },
  };
  return defineTool(tool as unknown as TransactionalTool<OrdersTables, z.ZodObject, typeof output>);
}
