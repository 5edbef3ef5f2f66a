import { z } from 'zod';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import type { Tool } from '#catalog-kit/tool.ts';

interface HeldTables {
  held: { tenant: string; id: string };
}

/** One call of `hold`. Milliseconds since 1970. */
export interface Held {
  readonly run: string;
  /** Settles when the effect is written and the call waits. */
  readonly began: Promise<number>;
  /** Settles when the call was told to end. */
  readonly ended: Promise<number>;
}

/** A tool that has its effect in a transaction and then waits, until its caller does not want it any more. */
export function holdTool(): { readonly tool: Tool; callOf(run: string): Held } {
  const calls = new Map<string, ReturnType<typeof newCall>>();
  const callOf = (run: string) => {
    const known = calls.get(run) ?? newCall(run);
    calls.set(run, known);
    return known;
  };
  const tool = toolsOver<HeldTables>()({
    name: 'hold',
    version: '1',
    description: 'Writes a row and waits for as long as it may.',
    input: z.strictObject({ id: z.string().min(1).max(40) }),
    output: z.strictObject({ id: z.string().max(40) }),
    effect: 'transactional',
    risk: 'cautious',
    labels: ['writes'],
    timeoutMs: 60_000,
    async execute(ctx, { id }) {
      await ctx.db
        .insertInto('held')
        .values({ tenant: ctx.tenant, id: `${ctx.run}/${id}` })
        .execute();
      const call = callOf(ctx.run);
      call.begin(Date.now());
      await aborted(ctx.signal);
      call.end(Date.now());
      return { result: { id }, change: { summary: `hold ${id}`, fields: [], quantities: {} } };
    },
    async undo() {
      throw refuse('CHANGED_SINCE', 'What was held is not given back.');
    },
  });
  return { tool, callOf };
}

function newCall(run: string) {
  const began = Promise.withResolvers<number>();
  const ended = Promise.withResolvers<number>();
  return { run, began: began.promise, begin: began.resolve, ended: ended.promise, end: ended.resolve };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((done) => signal.addEventListener('abort', () => done(), { once: true }));
}
