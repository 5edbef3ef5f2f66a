import { expect } from '@jest/globals';
import type { StopWork } from '#activities/run-context.ts';
import { createAct } from '#activities/tools/act.ts';
import { BegunCalls } from '#activities/tools/begun-calls.ts';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { ActResult } from '#domain/ports/run-activities.ts';
import type { CatalogPort, ExecuteOutcome, GuardPort, Receipt, Resolution } from '#domain/ports/services.ts';
import { activityEnvironment, endOf } from './activities.ts';
import type { SeededRun, workerBench } from './worker-bench.ts';

const DIGEST = 'd'.repeat(64);
/** An effect that took place. */
export const RECEIPT: Receipt = {
  kind: 'receipt',
  resultJson: '{"ok":true}',
  change: { summary: 'Edited', fields: [], quantities: {} },
  undoable: true,
  repeated: false,
};
/** An error of guard or catalog. */
export const fault = (code: ErrorCode, details = {}) => new StewardError(code, `it was ${code}`, { details });

type Bench = Awaited<ReturnType<typeof workerBench>>;

/** What the guard and the catalog of one call do, and what was asked of them. */
export interface World {
  authorize?: () => unknown;
  execute?: (signal: AbortSignal) => unknown;
  look?: () => unknown;
  settle?: () => unknown;
  attempt?: number;
  /** The guard has begun the call as it judged it. */
  begun?: boolean;
  /** Another attempt is let begin while this one is at the catalog. */
  overtaken?: boolean;
  /** Columns of the call as it was judged. */
  columns?: Readonly<Record<string, unknown>>;
}

/** One activity over the real store. What is not said of the world must not be asked. */
export async function world(bench: Bench, say: World, run?: SeededRun) {
  const own = run ?? (await bench.run());
  if (!run) await own.judge('1.0', say.columns ?? {});
  const asked: string[] = [];
  const answer = async <T>(what: string, give: (() => unknown) | undefined): Promise<T> => {
    asked.push(what);
    if (!give) throw new Error(`nobody should have asked to ${what}`);
    const given = await give();
    if (given instanceof StewardError) throw given;
    return given as T;
  };
  const letBegin = async (): Promise<number> => {
    const [row] = await bench.database.query<{ attempts: number }>(
      `update steward.agent_run_tool_invocations set state = 'started', attempts = attempts + 1
       where run_id = $1 and call_id = '1.0' returning attempts`,
      [own.ref.run],
    );
    return row?.attempts ?? 0;
  };
  const guard: Pick<GuardPort, 'authorize'> = {
    async authorize(runGrant, callId, digest) {
      expect([runGrant, callId, digest]).toEqual([own.grant, '1.0', DIGEST]);
      await answer('authorize', say.authorize ?? (() => true));
      return { actionRecord: new Uint8Array([1]), catalog: 'desk', executionGrants: ['g'], attempt: await letBegin() };
    },
  };
  const catalogs: CatalogPort = {
    execute(catalog, request, signal) {
      expect(catalog).toBe('desk');
      expect(request).toMatchObject({ runGrant: own.grant, executionGrants: ['g'], timeoutMs: 5_000 });
      const late = async () => {
        if (say.overtaken) await letBegin();
        return say.execute?.(signal as AbortSignal);
      };
      return answer<ExecuteOutcome>('execute', say.execute && late);
    },
    resolve(_, request) {
      expect(request).toEqual({
        key: `${own.ref.run}/1.0`,
        digest: DIGEST,
        runGrant: own.grant,
        lookOnly: expect.any(Boolean),
      });
      return request.lookOnly ? answer<Resolution>('look', say.look) : answer<Resolution>('settle', say.settle);
    },
  };
  const begun = new BegunCalls();
  if (say.begun) {
    const leave = { actionRecord: new Uint8Array([1]), catalog: 'desk', executionGrants: ['g'], attempt: 1 };
    const call = { callId: '1.0', tool: 'edit', digest: DIGEST, timeoutMs: 5_000, hasEffect: true, leave };
    begun.put(own.ref.run, own.grant, [call]);
  }
  const pushes = new Set<(what: StopWork) => void>();
  const act = createAct({
    store: bench.calls,
    guard: guard as GuardPort,
    catalogs,
    push: {
      onStop: (_work, stop) => {
        pushes.add(stop);
        return () => pushes.delete(stop);
      },
      epoch: () => 0,
    },
    log: { warn: () => undefined },
    begun,
  });
  const environment = activityEnvironment({ attempt: say.attempt ?? 1 });
  const input = { tenant: own.ref.tenant, run: own.ref.run, call: '1.0', digest: DIGEST };
  return {
    run: own,
    asked,
    environment,
    pushes,
    input,
    act: () => environment.run(act, input) as Promise<ActResult>,
    call: () => own.call('1.0'),
  };
}

/** Runs the activity and says how it ended, what was asked, and what is stored. */
export async function play(bench: Bench, say: World, run?: SeededRun) {
  const made = await world(bench, say, run);
  const end = await endOf(made.act().then((result) => result.outcome));
  const { state, attempts, error_code: code } = await made.call();
  const told = (await made.run.steps()).filter((step) => step.kind === 'tool_result').map((step) => step.content);
  return { end, asked: made.asked.join(' '), state, attempts, code, told, run: made.run };
}

/** Starts a call that lasts until it is aborted, and hands out what stops it. */
export async function inFlight(bench: Bench, say: World) {
  const begun = Promise.withResolvers<void>();
  const made = await world(bench, {
    ...say,
    execute: (signal) => {
      begun.resolve();
      return new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(fault('CANCELLED')), { once: true }),
      );
    },
  });
  const end = made.act().catch((error: unknown) => error);
  await begun.promise;
  return { ...made, end };
}
