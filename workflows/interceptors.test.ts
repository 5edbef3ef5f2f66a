import { createRequire } from 'node:module';
import { expect, test } from '@jest/globals';
import type { Tracer } from '@opentelemetry/api';
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';
import type { Next, WorkflowInboundCallsInterceptor, WorkflowOutboundCallsInterceptor } from '@temporalio/workflow';
import { interceptors } from './interceptors.ts';

/** As the first histories were recorded: what OpenTelemetry's interceptors put around every call. */
const { instrument } = createRequire(import.meta.url)(
  '@temporalio/interceptors-opentelemetry-v2/lib/instrumentation',
) as { instrument<T>(around: { tracer: Tracer; spanName: string; fn: () => Promise<T> }): Promise<T> };
const tracer = new BasicTracerProvider().getTracer('as recorded');

type Call = (next: () => Promise<unknown>) => Promise<unknown>;

const ENDINGS = ['done at once', 'failed at once', 'done later', 'failed later'] as const;

/** Rounds of promises from when what is called ends this way until the call has. */
async function rounds(call: Call, ending: (typeof ENDINGS)[number]): Promise<number> {
  const called = Promise.withResolvers<unknown>();
  const end = (): void => (ending.startsWith('done') ? called.resolve('done') : called.reject(new Error('failed')));
  const later = ending.endsWith('later');
  if (!later) end();
  let settled = false;
  const over = (): void => {
    settled = true;
  };
  call(() => called.promise).then(over, over);
  if (later) {
    for (let round = 0; round < 50; round += 1) await null;
    end();
  }
  for (let round = 0; round < 100; round += 1) {
    if (settled) return round;
    await null;
  }
  throw new Error('It has not settled.');
}

const [inbound] = interceptors().inbound ?? [];
const [outbound] = interceptors().outbound ?? [];
type Inbound = Required<WorkflowInboundCallsInterceptor>;
type Outbound = Required<WorkflowOutboundCallsInterceptor>;

test.each(ENDINGS)('what comes in takes as many rounds as when it was recorded: %s', async (ending) => {
  const recorded = await rounds(
    async (next) => await instrument({ tracer, spanName: 'any', fn: () => next() }),
    ending,
  );
  expect(recorded).toBeGreaterThan(2);
  for (const name of ['execute', 'handleSignal', 'handleUpdate', 'handleQuery'] as const) {
    const call = (inbound as Inbound)[name] as Inbound['execute'];
    const now = await rounds(
      (next) => call({ headers: {}, args: [] }, next as unknown as Next<Inbound, 'execute'>),
      ending,
    );
    expect([name, now]).toEqual([name, recorded]);
  }
});

test.each(ENDINGS)('what goes out takes as many rounds as when it was recorded: %s', async (ending) => {
  const recorded = await rounds(
    async (next) => await instrument({ tracer, spanName: 'any', fn: async () => next() }),
    ending,
  );
  for (const name of ['scheduleActivity', 'continueAsNew'] as const) {
    const call = (outbound as Outbound)[name] as (input: object, next: object) => Promise<unknown>;
    expect([name, await rounds((next) => call({}, next), ending)]).toEqual([name, recorded]);
  }
});
