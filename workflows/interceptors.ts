import type {
  WorkflowInboundCallsInterceptor,
  WorkflowInterceptors,
  WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';

/**
 * Runs were first recorded with OpenTelemetry's interceptors around every call. Their spans are told from the database
 * now, but a promise still has to take as many steps as it did then: with fewer, what becomes ready together becomes
 * ready in another order, and old histories differ. So these do nothing, at the pace of those.
 */
async function paced<T>(work: () => Promise<T>): Promise<T> {
  return await opened(async () => await closed(work));
}

function opened<T>(work: () => Promise<T>): Promise<T> {
  return work();
}

async function closed<T>(work: () => Promise<T>): Promise<T> {
  const result = await work();
  return result;
}

const inbound: WorkflowInboundCallsInterceptor = {
  async execute(input, next) {
    return await paced(() => next(input));
  },
  async handleSignal(input, next) {
    return await paced(() => next(input));
  },
  async handleUpdate(input, next) {
    return await paced(() => next(input));
  },
  async handleQuery(input, next) {
    return await paced(() => next(input));
  },
};

const outbound: WorkflowOutboundCallsInterceptor = {
  async scheduleActivity(input, next) {
    return await paced(async () => next(input));
  },
  async continueAsNew(input, next) {
    return await paced(async () => next(input));
  },
};

/** What the workflow bundle is built with. */
export const interceptors = (): WorkflowInterceptors => ({ inbound: [inbound], outbound: [outbound] });
