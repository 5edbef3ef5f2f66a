import { setTimeout as sleep } from 'node:timers/promises';
import type { CatalogHooks } from '#catalog-kit/catalog.ts';
import type { Receipts } from '#catalog-kit/receipts.ts';
import type { BoundService, CallContext } from '#platform/grpc/bind.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { forgetfulReceipts } from '#test/support/forgetful-receipts.ts';
import { EFFECT_TOOLS, SEEN_TWICE } from '../intents.ts';
import { LATE, LATE_DONE, SABOTAGE_VARIABLE, type Target } from '../points.ts';
import { Probe } from '../probe.ts';
import { aroundCalls } from './around.ts';

/** How long after its caller gave up a late call begins, in turn: just before Resolve comes, with it, and after. */
const LATE_MS = [-40, 20, 80, 400] as const;
/** How long a late call may then take. */
const AS_IF_WANTED_MS = 30_000;
const COUNTED: ReadonlySet<string> = new Set(['execute', 'resolve', 'preview', 'undo']);

/** What a catalog of the suite is composed of. */
export function chaosParts(target: Target & ('projects' | 'messaging' | 'orders')): {
  readonly hooks: CatalogHooks;
  readonly wrap: (service: BoundService) => BoundService;
  readonly receipts?: Receipts;
} {
  const probe = new Probe(target);
  const sabotaged = process.env[SABOTAGE_VARIABLE] === 'receipts';
  // What is done twice must be seen twice where it is to be seen at all.
  const dieAt = (point: string, tool: string) => {
    if (!sabotaged || target === 'messaging' || SEEN_TWICE.has(tool)) probe.dieAt(point, tool);
  };
  const late = new Set<string>();
  return {
    hooks: {
      afterEffect: ({ tool }) => dieAt('after-far-effect', tool),
      afterCommit: ({ tool, key }) => {
        if (late.has(key)) probe.tell(LATE_DONE, tool);
        dieAt('after-commit', tool);
      },
    },
    wrap: aroundCalls(async (method, ctx, request, serve) => {
      const { tool, key, run } = method === 'execute' ? recordOf(request) : NO_RECORD;
      let as = ctx;
      if (EFFECT_TOOLS.has(tool) && (!sabotaged || SEEN_TWICE.has(tool)) && probe.take(LATE, `${run} ${tool}`)) {
        const afterMs = LATE_MS[late.size % LATE_MS.length] ?? 0;
        late.add(key);
        await sleep(Math.max(0, ctx.deadline.getTime() - Date.now() + afterMs));
        as = unaware(ctx);
      }
      if (!COUNTED.has(method)) return await serve(as);
      return await probe.during({ what: `${method} ${tool}`, run: null }, () => serve(as));
    }),
    ...(sabotaged ? { receipts: forgetfulReceipts() } : {}),
  };
}

/** A handler that does not know that its caller has given up: as after a pause of the process, or with a slow clock. */
function unaware(ctx: CallContext): CallContext {
  return { ...ctx, signal: new AbortController().signal, deadline: new Date(Date.now() + AS_IF_WANTED_MS) };
}

const NO_RECORD = { tool: '', key: '', run: '' };

function recordOf(request: unknown): { readonly tool: string; readonly key: string; readonly run: string } {
  try {
    return parseActionRecord((request as { readonly actionRecord: Uint8Array }).actionRecord);
  } catch {
    return NO_RECORD;
  }
}
