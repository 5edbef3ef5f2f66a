import type { Command } from 'commander';
import { Option } from 'commander';
import { StewardError } from '#domain/errors.ts';
import { GetApprovalResponseSchema, ListApprovalsResponseSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { action } from '../action.ts';
import { checkApproval } from '../approval-record.ts';
import { approvalState, whole } from '../input.ts';
import { approvalLines, approvalTable } from '../render/approval.ts';
import { type DecideOptions, decide, type SignOptions, sign } from './approval-decide.ts';

interface ListOptions {
  readonly state?: ApprovalState;
  readonly run?: string;
  readonly limit: number;
  readonly pageToken?: string;
}

/** Adds `approval` and its commands. */
export function addApproval(program: Command): void {
  const approval = program
    .command('approval')
    .summary('see what waits for a decision, and decide')
    .description('Shows what waits for a decision, and decides.');
  addList(approval);
  addShow(approval);
  deciding(approval.command('approve').summary('approve one exact call'), 'Approves one exact call, once.')
    .option('--wait', 'wait until the run has taken the answer over')
    .action(
      action<DecideOptions>(async (session, options, [id = '']) => await decide(session, 'approve', options, id)),
    );
  deciding(
    approval.command('deny').summary('deny one exact call'),
    'Denies one exact call. The model is told the reason.',
  )
    .option('--wait', 'wait until the run has taken the answer over')
    .action(action<DecideOptions>(async (session, options, [id = '']) => await decide(session, 'deny', options, id)));
  deciding(
    approval.command('sign').summary('sign an answer, for a tool that signals Temporal itself'),
    'Signs your answer without recording it, and prints the signal that an internal tool sends to Temporal.',
    false,
  )
    .addOption(new Option('--answer <answer>', 'what you answer').choices(['approve', 'deny']).makeOptionMandatory())
    .action(action<SignOptions>(async (session, options, [id = '']) => await sign(session, options, id)));
}

function deciding(command: Command, what: string, recorded = true): Command {
  command
    .description(`${what} Shows the call first and asks, unless --digest or --yes is given.`)
    .argument('<approval>', 'approval id')
    .option('--reason <text>', 'why; shown to the model where you deny')
    .option('--digest <digest>', 'decide only if this is what the approval is about')
    .option('-y, --yes', 'do not ask');
  return recorded ? command.option('--request-id <id>', 'answer once per id, however often this is repeated') : command;
}

function addList(approval: Command): void {
  approval
    .command('list')
    .summary('list what waits for a decision')
    .description('Lists approvals: open ones, newest first.')
    .option('--state <state>', 'those in another state: approved, denied, expired, void', approvalState)
    .option('--run <run>', 'only those of this run')
    .option('--limit <n>', 'at most so many', whole(1, 100), 20)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<ListOptions>(async (session, options) => {
        const answer = await session.wait(
          'Waiting for the guard',
          session.approvals.listApprovals({
            state: options.state ?? ApprovalState.UNSPECIFIED,
            runId: options.run ?? '',
            pageSize: options.limit,
            pageToken: options.pageToken ?? '',
          }),
        );
        session.show(ListApprovalsResponseSchema, answer, () =>
          answer.approvals.length === 0
            ? ['Nothing waits for a decision.']
            : approvalTable(answer.approvals, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function addShow(approval: Command): void {
  approval
    .command('show')
    .summary('show what is decided, exactly')
    .description('Shows what is decided, exactly: arguments, preview, why, digest.')
    .argument('<approval>', 'approval id')
    .action(
      action(async (session, _options, [approvalId = '']) => {
        const answer = await session.wait('Waiting for the guard', session.approvals.getApproval({ approvalId }));
        if (answer.approval === undefined) {
          throw new StewardError('INTERNAL', 'The guard answered without an approval.');
        }
        const { approval: shown, argsJson } = checkApproval(answer);
        session.show(GetApprovalResponseSchema, answer, () => [
          ...approvalLines(shown, session.look, argsJson),
          ...(shown.state === ApprovalState.OPEN
            ? ['', `${session.command} approval approve ${shown.id}`, `${session.command} approval deny ${shown.id}`]
            : []),
        ]);
        return undefined;
      }),
    );
}
