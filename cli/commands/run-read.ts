import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  GetRunResponseSchema,
  GetToolCallResponseSchema,
  ListRunsResponseSchema,
  ListStepsResponseSchema,
  type RunStatus,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { action } from '../action.ts';
import { moment, pairs, statuses, whole } from '../input.ts';
import { callLines, stepLine } from '../render/call.ts';
import { runLines, runTable } from '../render/run.ts';
import { fourAnswers } from '../render/summary.ts';
import { callsOf, watchRun } from '../watch.ts';

interface ListOptions {
  readonly status?: readonly RunStatus[];
  readonly agent?: string;
  readonly user?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly tool?: string;
  readonly text?: string;
  readonly since?: Date;
  readonly before?: Date;
  readonly limit: number;
  readonly pageToken?: string;
}

/** Adds `run watch`, `get`, `list`, `steps` and `call`. */
export function addRunReads(parent: Command): void {
  addWatch(parent);
  addGet(parent);
  addList(parent);
  addSteps(parent);
  addCall(parent);
}

function addWatch(parent: Command): void {
  parent
    .command('watch')
    .summary('show a run live until it ends')
    .description('Shows a run live until it ends. Ctrl-C ends the watching, never the run.')
    .argument('<run>', 'run id')
    .option('--after <n>', 'leave out events up to this number', whole(0, Number.MAX_SAFE_INTEGER), 0)
    .option('--text', "also the model's words as they come")
    .action(
      action<{ readonly after: number; readonly text?: true }>(
        async (session, { after, text }, [runId = '']) =>
          await watchRun(session, runId, { after: BigInt(after), text: text === true }),
      ),
    );
}

function addGet(parent: Command): void {
  parent
    .command('get')
    .summary('show a run and what it has changed')
    .description('Shows a run: where it stands, who approved what it did, what changed, how to undo it, what it cost.')
    .argument('<run>', 'run id')
    .action(
      action(async (session, _options, [runId = '']) => {
        const answer = await session.wait('Waiting for run-api', session.runs.getRun({ runId }));
        const { run, effects } = answer;
        if (run === undefined) throw new StewardError('INTERNAL', 'run-api answered without a run.');
        const calls = session.json ? [] : await callsOf(session, runId, effects);
        session.show(GetRunResponseSchema, answer, () => [
          ...runLines(run, session.look),
          '',
          ...fourAnswers(run, effects, calls, session.look),
        ]);
        return undefined;
      }),
    );
}

function addList(parent: Command): void {
  parent
    .command('list')
    .summary('list runs')
    .description('Lists runs, newest first.')
    .option('--status <status>', 'only runs that stand there; may be repeated, or separated by commas', statuses)
    .option('--agent <name>', 'only runs of this agent')
    .option('--user <subject>', 'only runs that act for this user')
    .option('--label <key=value>', 'only runs with this label; may be repeated', pairs)
    .option('--tool <name>', 'only runs that used this tool')
    .option('--text <words>', 'only runs with all these words in what was wanted or in the outcome')
    .option('--since <when>', 'only runs created since: 2h, 7d, or a date', moment)
    .option('--before <when>', 'only runs created before: 2h, 7d, or a date', moment)
    .option('--limit <n>', 'at most so many', whole(1, 100), 20)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<ListOptions>(async (session, options) => {
        const answer = await session.wait(
          'Waiting for run-api',
          session.runs.listRuns({
            statuses: [...(options.status ?? [])],
            agent: options.agent ?? '',
            actingUser: options.user ?? '',
            labels: { ...options.label },
            tool: options.tool ?? '',
            text: options.text ?? '',
            ...(options.since === undefined ? {} : { createdAfter: timestampFromDate(options.since) }),
            ...(options.before === undefined ? {} : { createdBefore: timestampFromDate(options.before) }),
            pageSize: options.limit,
            pageToken: options.pageToken ?? '',
          }),
        );
        session.show(ListRunsResponseSchema, answer, () =>
          answer.runs.length === 0 ? ['No such runs.'] : runTable(answer.runs, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function addSteps(parent: Command): void {
  parent
    .command('steps')
    .summary("list a run's steps")
    .description("Lists a run's steps: messages of people and the model, results of tools.")
    .argument('<run>', 'run id')
    .option('--after <n>', 'leave out steps up to this number', whole(0, 2_147_483_647), 0)
    .option('--limit <n>', 'at most so many', whole(1, 200), 50)
    .action(
      action<{ readonly after: number; readonly limit: number }>(async (session, { after, limit }, [runId = '']) => {
        const request = { runId, afterStep: after, pageSize: limit };
        const answer = await session.wait('Waiting for run-api', session.runs.listSteps(request));
        session.show(ListStepsResponseSchema, answer, () =>
          answer.steps.length === 0 ? ['No steps.'] : answer.steps.map((step) => stepLine(step, session.look)),
        );
        if (answer.more) session.remark(`More: add --after ${answer.steps.at(-1)?.number ?? after}`);
        return undefined;
      }),
    );
}

function addCall(parent: Command): void {
  parent
    .command('call')
    .summary('show one tool call whole')
    .description('Shows one tool call whole: arguments, verdict, approval, result, change, cost.')
    .argument('<run>', 'run id')
    .argument('<call>', 'call id, as in 3.0')
    .action(
      action(async (session, _options, [runId = '', callId = '']) => {
        const answer = await session.wait('Waiting for run-api', session.runs.getToolCall({ runId, callId }));
        const { call } = answer;
        if (call === undefined) throw new StewardError('INTERNAL', 'run-api answered without a call.');
        session.show(GetToolCallResponseSchema, answer, () => callLines(call, session.look));
        return undefined;
      }),
    );
}
