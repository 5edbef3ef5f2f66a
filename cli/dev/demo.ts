import { randomUUID } from 'node:crypto';
import { followRun } from '#client/follow.ts';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import { DEV_AUDIENCE, DEV_ISSUER } from '#deploy/dev/secrets.ts';
import type { Stack } from '#deploy/dev/stack.ts';
import { StewardError } from '#domain/errors.ts';
import { AdminService } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { Answer, ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { type Run, RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Connection, connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import { approvalLines } from '../render/approval.ts';
import { renderEvent } from '../render/event.ts';
import { lookFor } from '../render/look.ts';
import { statusName } from '../render/status.ts';
import { renderSummary } from '../render/summary.ts';
import { firstState, nextState, type WatchState, wantsCall, withCall } from '../render/watch-state.ts';
import { canAsk, confirm, note, print } from '../terminal.ts';

/** Who plays the main job, all of the local tenant. */
export const CAST = {
  /** Applies the agent. */
  admin: { subject: 'olga@acme.example', roles: ['operator', 'approver', 'admin'] },
  /** The product service that starts the run on behalf of a user. */
  desk: { subject: 'release-desk', roles: ['service'], onBehalfOf: 'ada@acme.example' },
  /** Decides where no person sits at the terminal. */
  second: { subject: 'ben@acme.example', roles: ['approver'] },
} as const satisfies Record<string, { subject: string; roles: readonly Role[]; onBehalfOf?: string }>;

const TOKEN_S = 3_600;
const MOST_CALLS = 50;

/** What the main job came to: the last line of `npm start -- --once`. */
export interface DemoFigures {
  readonly run: string;
  readonly status: string;
  readonly turns: number;
  readonly toolCalls: number;
  readonly approvals: number;
  readonly costMicroUsd: number;
  readonly effects: number;
  readonly undoable: number;
  readonly temporalUi: string;
}

export interface DemoOptions {
  readonly agentYaml: string;
  readonly agent: string;
  readonly input: string;
  /** Decide as a second local user instead of asking. */
  readonly once: boolean;
  readonly signal: AbortSignal;
}

/** Plays one run in the terminal: live steps, the questions with their exact arguments, the four answers. */
export async function playDemo(stack: Stack, options: DemoOptions): Promise<DemoFigures> {
  const as = (who: (typeof CAST)[keyof typeof CAST]) => () =>
    mintToken(
      stack.secrets.tokens.privateJwk,
      { issuer: DEV_ISSUER, audience: DEV_AUDIENCE, tenant: DEV_TENANT, ...who },
      TOKEN_S,
    );
  const { runApi, guard } = stack.environment;
  const admin = connect(AdminService, { address: runApi, name: 'run-api', token: as(CAST.admin) });
  const runs = connect(RunService, { address: runApi, name: 'run-api', token: as(CAST.desk) });
  const watching = connect(RunService, { address: runApi, name: 'run-api', token: as(CAST.admin) });
  const decider = options.once ? CAST.second : CAST.admin;
  const approvals = connect(ApprovalService, { address: guard, name: 'guard', token: as(decider) });
  try {
    await admin.client.applyAgent({ yaml: options.agentYaml });
    const { run } = await runs.client.startRun({
      requestId: randomUUID(),
      agent: options.agent,
      input: options.input,
      labels: { source: 'npm-start' },
    });
    if (!run) throw new StewardError('INTERNAL', 'run-api started no run.');
    print(opening(run));
    const asked = await follow(watching, approvals, run, options, decider.subject);
    return await conclude(watching, run.id, asked);
  } finally {
    for (const connection of [admin, runs, watching, approvals]) connection.close();
  }
}

function opening(run: Run): readonly string[] {
  const { paint } = lookFor(process.stdout);
  return [
    '',
    `${paint.bold(run.input)}`,
    `  run ${run.id}, agent ${run.agent}, started by ${run.startedBy} for ${run.actingUser}`,
    ...(run.temporalUi === '' ? [] : [`  in Temporal: ${run.temporalUi}`]),
    '',
  ];
}

/** Shows events as they come and answers what is asked; returns how often a person was asked. */
async function follow(
  runs: Connection<typeof RunService>,
  approvals: Connection<typeof ApprovalService>,
  run: Run,
  options: DemoOptions,
  decider: string,
): Promise<number> {
  let state: WatchState = firstState(run.id, lookFor(process.stdout), {
    startedAt: Date.now(),
    command: 'npm run steward --',
  });
  let asked = 0;
  // One question at a time, while the stream goes on.
  let questions: Promise<void> = Promise.resolve();
  for await (const item of followRun(runs.client, run.id, { after: 0n, text: false, signal: options.signal })) {
    if (item.kind === 'broken') note(`${item.why} Trying again.`);
    if (item.kind !== 'event') continue;
    state = nextState(state, item.event);
    if (wantsCall(item.event)) {
      const request = { runId: run.id, callId: item.event.callId };
      const answer = await runs.client.getToolCall(request, { deadlineMs: 2_000 }).catch(() => null);
      if (answer?.call) state = withCall(state, answer.call);
    }
    // What is asked is shown whole by `decide`.
    if (item.event.kind !== 'approval.asked') print(renderEvent(item.event, state));
    const approval = item.event.data?.approval;
    if (item.event.kind !== 'approval.asked' || typeof approval !== 'string') continue;
    asked += 1;
    questions = questions.then(() => decide(approvals, approval, options, decider));
    // A question nobody can answer here is left to the command line.
    questions.catch((error: unknown) => note(error instanceof Error ? error.message : String(error)));
  }
  return asked;
}

async function decide(
  approvals: Connection<typeof ApprovalService>,
  approvalId: string,
  options: DemoOptions,
  decider: string,
): Promise<void> {
  const { approval } = await approvals.client.getApproval({ approvalId });
  if (!approval) return;
  print(['', ...approvalLines(approval, lookFor(process.stdout)), '']);
  if (!options.once && !canAsk()) {
    print([`Nobody can be asked here. Decide with: npm run steward -- approval approve ${approvalId}`, '']);
    return;
  }
  const yes = options.once || (await confirm(`Approve ${approval.tool}, exactly as shown?`));
  await approvals.client.decide({
    requestId: randomUUID(),
    decision: {
      approvalId,
      answer: yes ? Answer.APPROVE : Answer.DENY,
      digest: approval.digest,
      reason: options.once ? 'decided by the second local user of --once' : 'decided at the terminal',
    },
  });
  print([`${yes ? 'Approved' : 'Denied'} by ${decider}.`, '']);
}

async function conclude(runs: Connection<typeof RunService>, runId: string, asked: number): Promise<DemoFigures> {
  const { run, effects } = await runs.client.getRun({ runId });
  if (!run) throw new StewardError('NOT_FOUND', `Run ${runId} is gone.`);
  const calls = [];
  for (const effect of effects.slice(0, MOST_CALLS)) {
    const answer = await runs.client.getToolCall({ runId, callId: effect.callId });
    if (answer.call) calls.push(answer.call);
  }
  print(['', ...renderSummary(run, effects, calls, lookFor(process.stdout)), '']);
  return {
    run: run.id,
    status: statusName(run.status),
    turns: run.turns,
    toolCalls: run.toolCalls,
    approvals: asked,
    costMicroUsd: Number(run.cost?.settledMicroUsd ?? 0n),
    effects: effects.length,
    undoable: effects.filter((effect) => effect.undoable).length,
    temporalUi: run.temporalUi,
  };
}
