import { randomUUID } from 'node:crypto';
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { type Command, InvalidArgumentError } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  CancelRunResponseSchema,
  PauseRunResponseSchema,
  RaiseBudgetResponseSchema,
  ResumeRunResponseSchema,
  type Run,
  SendMessageResponseSchema,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { action } from '../action.ts';
import { money, readText } from '../input.ts';
import { dollars } from '../render/money.ts';
import { statusColour, statusName } from '../render/status.ts';
import { visible } from '../render/text.ts';
import type { Session } from '../session.ts';

interface SteerOptions {
  readonly reason?: string;
  readonly requestId?: string;
  readonly file?: string;
}

/** Adds `run send`, `cancel`, `pause`, `resume` and `raise-budget`. */
export function addRunSteering(parent: Command): void {
  steering(parent, 'send', 'say something to a run; it reads it before its next turn')
    .argument('[text]', "what to say; '-' reads standard input")
    .option('--file <file>', "a file that says it; '-' is standard input")
    .action(
      action<SteerOptions>(async (session, options, [runId = '', argument]) => {
        const text = await textOf(options, argument);
        const request = { runId, requestId: requestIdOf(session, options), text };
        const answer = await session.wait('Sending', session.runs.sendMessage(request));
        if (answer.repeated) session.remark(`The request id ${request.requestId} had sent this before.`);
        shown(session, SendMessageResponseSchema, answer, 'was told; it reads it before its next turn');
        return undefined;
      }),
    );
  reasoned(parent, 'cancel', 'ask a run to stop').action(
    action<SteerOptions>(async (session, options, [runId = '']) => {
      const request = { runId, requestId: requestIdOf(session, options), reason: options.reason ?? '' };
      const answer = await session.wait('Cancelling', session.runs.cancelRun(request));
      shown(session, CancelRunResponseSchema, answer, 'asked to stop');
      return undefined;
    }),
  );
  reasoned(parent, 'pause', 'let calls in flight finish and start nothing more').action(
    action<SteerOptions>(async (session, options, [runId = '']) => {
      const request = { runId, requestId: requestIdOf(session, options), reason: options.reason ?? '' };
      const answer = await session.wait('Pausing', session.runs.pauseRun(request));
      shown(session, PauseRunResponseSchema, answer, 'asked to pause');
      return undefined;
    }),
  );
  steering(parent, 'resume', 'let a paused run go on').action(
    action<SteerOptions>(async (session, options, [runId = '']) => {
      const request = { runId, requestId: requestIdOf(session, options) };
      const answer = await session.wait('Resuming', session.runs.resumeRun(request));
      shown(session, ResumeRunResponseSchema, answer, 'goes on');
      return undefined;
    }),
  );
  reasoned(parent, 'raise-budget', "add to a run's budget")
    .argument('<dollars>', 'what to add, as in 0.20')
    .action(
      action<SteerOptions>(async (session, options, [runId = '', amount = '']) => {
        const add = amountOf(amount);
        const request = {
          runId,
          requestId: requestIdOf(session, options),
          addMicroUsd: add,
          reason: options.reason ?? '',
        };
        const answer = await session.wait('Raising the budget', session.runs.raiseBudget(request));
        const now = answer.run?.cost === undefined ? '' : ` to ${dollars(answer.run.cost.budgetMicroUsd)}`;
        shown(session, RaiseBudgetResponseSchema, answer, `budget raised by ${dollars(add)}${now}`);
        return undefined;
      }),
    );
}

function steering(parent: Command, name: string, what: string): Command {
  return parent
    .command(name)
    .summary(what)
    .description(`${what.charAt(0).toUpperCase()}${what.slice(1)}.`)
    .argument('<run>', 'run id')
    .option('--request-id <id>', 'do it once per id, however often this is repeated');
}

function reasoned(parent: Command, name: string, what: string): Command {
  return steering(parent, name, what).option('--reason <text>', 'why, for the record');
}

function requestIdOf(session: Session, options: SteerOptions): string {
  session.requestId = options.requestId ?? randomUUID();
  return session.requestId;
}

async function textOf(options: SteerOptions, argument: string | undefined): Promise<string> {
  if ((argument === undefined) === (options.file === undefined)) {
    throw new StewardError('INVALID_REQUEST', 'Say it once: as an argument, or with --file.');
  }
  const text = options.file !== undefined || argument === '-' ? await readText(options.file ?? '-') : (argument ?? '');
  if (text.trim() === '') throw new StewardError('INVALID_REQUEST', 'What you want to say is empty.');
  return text;
}

function amountOf(text: string): bigint {
  try {
    return money(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) throw new StewardError('INVALID_REQUEST', error.message);
    throw error;
  }
}

function shown<D extends DescMessage>(
  session: Session,
  schema: D,
  answer: MessageShape<D> & { readonly run?: Run | undefined },
  what: string,
): void {
  const { run } = answer;
  session.show(schema, answer, () => {
    if (run === undefined) return [what];
    const status = session.look.paint[statusColour(run.status)](statusName(run.status).replaceAll('_', ' '));
    return [`${visible(run.id)} ${what}; it is now ${status}`];
  });
}
