import { randomUUID } from 'node:crypto';
import { StewardError } from '#domain/errors.ts';
import { Answer, type Approval, ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { type Effect, type Run, type RunEvent, RunService, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { followRun } from './follow.ts';

export { isStewardError, StewardError } from '#domain/errors.ts';
export type { Approval } from '#gen/steward/guard/v1/approval_service_pb.ts';
export { type Effect, type Run, type RunEvent, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';

export interface StewardOptions {
  /** run-api: `host:port`, or `https://host:port` for TLS. */
  readonly address: string;
  /** The guard, for approvals; without it those calls fail with INVALID_REQUEST. */
  readonly guardAddress?: string;
  /** A bearer token, or what gives one before every call: cache it there. */
  readonly token: string | (() => Promise<string> | string);
  /** Milliseconds one call may take; default 10 s. Watching has none. */
  readonly deadlineMs?: number;
}

export interface StartOptions {
  /** Yours, at most 100 characters: the same id again gives the same run, and never a second one. Default: a random one. */
  readonly requestId?: string;
  readonly agent: string;
  readonly input: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Tools to keep; default: all of the agent's. */
  readonly tools?: readonly string[];
  /** Micro-USD; default: the agent's, and never above it. */
  readonly budgetMicroUsd?: bigint;
  /** `kind/id` of records that the run may touch; default: all. */
  readonly resources?: readonly string[];
  /** A closed run whose conversation goes on. */
  readonly continues?: string;
}

export interface WatchOptions {
  /** Events with a greater number are given; default: all. Keep the last one's to go on after a restart. */
  readonly after?: bigint;
  /** Ends the watching, never the run. */
  readonly signal?: AbortSignal;
}

/** How a run ended. */
export interface Result {
  readonly run: Run;
  readonly effects: readonly Effect[];
}

/** Runs and approvals, for product services. Every failure is a StewardError, whose `code` is stable. */
export interface Steward {
  /** Starts a run, or gives the one that this request id has started. */
  start(options: StartOptions): Promise<Run>;
  get(runId: string): Promise<Result>;
  /**
   * The run's events, each once and in order, until it has closed. A stream that breaks is taken up where it stood.
   * Throws UNAVAILABLE once ten attempts in a row have brought nothing.
   */
  watch(runId: string, options?: WatchOptions): AsyncIterable<RunEvent>;
  /** Waits until the run has closed. */
  result(runId: string, options?: Pick<WatchOptions, 'signal'>): Promise<Result>;
  /** Says something to a running run; it is read at the next turn. Once per request id. */
  send(runId: string, text: string, requestId?: string): Promise<void>;
  cancel(runId: string, reason?: string): Promise<Run>;
  /** A run's open questions, with the exact arguments. */
  approvals(runId: string): Promise<readonly Approval[]>;
  /** Answers one question: for exactly the call that was read. Returns once the run has heard it. */
  approve(approval: Approval, reason?: string): Promise<void>;
  deny(approval: Approval, reason: string): Promise<void>;
  /** Gives the connections up. */
  close(): void;
}

const NEVER = new AbortController().signal;
const DECIDE_MS = 30_000;

/** Connects to Steward; nothing is sent before the first call. */
export function connectSteward(options: StewardOptions): Steward {
  const { address, guardAddress, deadlineMs = 10_000, token: given } = options;
  const token = typeof given === 'string' ? () => given : given;
  const runApi = connect(RunService, { address, token, deadlineMs, name: 'run-api' });
  const guard =
    guardAddress === undefined
      ? undefined
      : connect(ApprovalService, { address: guardAddress, token, deadlineMs, name: 'guard' });
  const runs = runApi.client;
  const approvals = () => {
    if (guard !== undefined) return guard.client;
    throw new StewardError(
      'INVALID_REQUEST',
      'Give connectSteward the guardAddress: approvals are asked of the guard.',
    );
  };
  const runOf = (run: Run | undefined): Run => {
    if (run !== undefined) return run;
    throw new StewardError('INTERNAL', 'run-api answered without a run.');
  };
  const decide = async ({ id, digest }: Approval, answer: Answer, reason: string) => {
    const decision = { approvalId: id, answer, digest, reason };
    // One id for one question: whatever is repeated, it is answered once.
    await approvals().decideAndWait({ requestId: `${id}/${answer}`, decision }, { deadlineMs: DECIDE_MS });
  };

  const steward: Steward = {
    async start({ requestId = randomUUID(), agent, input, labels, tools, budgetMicroUsd, resources, continues }) {
      const { run } = await runs.startRun({
        requestId,
        agent,
        input,
        labels: { ...labels },
        continues: continues ?? '',
        narrowing: {
          tools: [...(tools ?? [])],
          resources: [...(resources ?? [])],
          budgetMicroUsd: budgetMicroUsd ?? 0n,
        },
      });
      return runOf(run);
    },
    async get(runId) {
      const { run, effects } = await runs.getRun({ runId });
      return { run: runOf(run), effects };
    },
    async *watch(runId, { after = 0n, signal = NEVER } = {}) {
      for await (const followed of followRun(runs, runId, { after, text: false, signal })) {
        if (followed.kind === 'event') yield followed.event;
      }
    },
    async result(runId, { signal = NEVER } = {}) {
      for await (const _event of steward.watch(runId, { signal }));
      signal.throwIfAborted();
      return await steward.get(runId);
    },
    async send(runId, text, requestId = randomUUID()) {
      await runs.sendMessage({ runId, requestId, text });
    },
    async cancel(runId, reason = '') {
      const { run } = await runs.cancelRun({ runId, requestId: randomUUID(), reason });
      return runOf(run);
    },
    async approvals(runId) {
      const { approvals: open } = await approvals().listApprovals({ runId, pageSize: 100 });
      return open;
    },
    approve: (approval, reason = '') => decide(approval, Answer.APPROVE, reason),
    deny: (approval, reason) => decide(approval, Answer.DENY, reason),
    close() {
      runApi.close();
      guard?.close();
    },
  };
  return steward;
}

/** Whether a run has ended, whatever came of it. */
export function hasEnded(run: Run): boolean {
  return run.closedAt !== undefined;
}

/** The name of a status as the contract spells it: `COMPLETED`. */
export function statusName(status: RunStatus): string {
  return Object.entries(RunStatus).find(([, value]) => value === status)?.[0] ?? String(status);
}
