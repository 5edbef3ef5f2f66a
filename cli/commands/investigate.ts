import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  AssignInvestigationResponseSchema,
  CloseInvestigationResponseSchema,
  GetInvestigationResponseSchema,
  ListInvestigationsResponseSchema,
  NoteInvestigationResponseSchema,
} from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { action } from '../action.ts';
import { whole } from '../input.ts';
import { investigationLines, investigationTable } from '../render/investigation.ts';
import { visible } from '../render/text.ts';

/** Adds `investigate` and its commands. */
export function addInvestigate(program: Command): void {
  const investigate = program
    .command('investigate')
    .summary('look into runs that went wrong or otherwise than usual')
    .description(
      'The queue of runs that a person is to look at: unusual ones (which were paused), aborted ones, those that met a ' +
        'cap, and a sample of the others.',
    );
  addList(investigate);
  addShow(investigate);
  addAssign(investigate);
  addNote(investigate);
  addClose(investigate);
}

interface ListOptions {
  readonly closed?: true;
  readonly all?: true;
  readonly reason?: string;
  readonly assignee?: string;
  readonly limit: number;
  readonly pageToken?: string;
}

function addList(parent: Command): void {
  parent
    .command('list')
    .summary('list the queue')
    .description('Lists what is open, newest first.')
    .option('--closed', 'what is closed instead')
    .option('--all', 'both')
    .option('--reason <reason>', 'only anomaly, aborted, capped or sample')
    .option('--assignee <subject>', "only this person's")
    .option('--limit <n>', 'at most so many', whole(1, 100), 50)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<ListOptions>(async (session, { closed, all, reason = '', assignee = '', limit, pageToken = '' }) => {
        const state = all ? '' : closed ? 'closed' : 'open';
        const request = { state, reason, assignee, pageSize: limit, pageToken };
        const answer = await session.wait('Waiting for run-api', session.investigations.listInvestigations(request));
        session.show(ListInvestigationsResponseSchema, answer, () =>
          answer.investigations.length === 0
            ? ['Nothing to look into.']
            : investigationTable(answer.investigations, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function addShow(parent: Command): void {
  parent
    .command('show')
    .summary('show one, with its evidence and notes')
    .description('Shows why a run is to be looked at, what shows it, and what was noted.')
    .argument('<run>', 'run id')
    .action(
      action(async (session, _options, [runId = '']) => {
        const answer = await session.wait('Waiting for run-api', session.investigations.getInvestigation({ runId }));
        const { investigation, notes } = answer;
        if (!investigation) throw new StewardError('INTERNAL', 'run-api answered without an investigation.');
        session.show(GetInvestigationResponseSchema, answer, () => [
          ...investigationLines(investigation, notes, session.look),
          '',
          `What it did: ${session.command} run get ${visible(runId)}`,
        ]);
        return undefined;
      }),
    );
}

function addAssign(parent: Command): void {
  parent
    .command('assign')
    .summary('give it to somebody')
    .description('Says who looks into it.')
    .argument('<run>', 'run id')
    .argument('[subject]', 'whose it is; left out, it is nobody’s')
    .action(
      action(async (session, _options, [runId = '', assignee = '']) => {
        const call = session.investigations.assignInvestigation({ runId, assignee });
        const answer = await session.wait('Waiting for run-api', call);
        session.show(AssignInvestigationResponseSchema, answer, () => [
          assignee === '' ? 'It is nobody’s now.' : `It is ${visible(assignee)}'s now.`,
        ]);
        return undefined;
      }),
    );
}

function addNote(parent: Command): void {
  parent
    .command('note')
    .summary('add a note')
    .description('Adds a note. Notes are never changed.')
    .argument('<run>', 'run id')
    .argument('<text>', 'what there is to say')
    .action(
      action(async (session, _options, [runId = '', text = '']) => {
        const call = session.investigations.noteInvestigation({ runId, text });
        const answer = await session.wait('Waiting for run-api', call);
        session.show(NoteInvestigationResponseSchema, answer, () => [`Noted, as number ${answer.note?.number}.`]);
        return undefined;
      }),
    );
}

function addClose(parent: Command): void {
  parent
    .command('close')
    .summary('close it with what was found')
    .description('Closes it. A run that waits goes on only when it is resumed, and ends only when it is cancelled.')
    .argument('<run>', 'run id')
    .requiredOption('--finding <text>', 'what was found')
    .action(
      action<{ readonly finding: string }>(async (session, { finding }, [runId = '']) => {
        const call = session.investigations.closeInvestigation({ runId, finding });
        const answer = await session.wait('Waiting for run-api', call);
        const was = answer.investigation?.finding === finding ? 'Closed.' : 'Was closed already, with another finding.';
        session.show(CloseInvestigationResponseSchema, answer, () => [was]);
        return undefined;
      }),
    );
}
