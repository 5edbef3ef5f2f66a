import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  type Run,
  RunStatus,
  type StartRunRequestSchema,
  StartRunResponseSchema,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { action } from '../action.ts';
import { documentText, toDocument } from '../document.ts';
import type { ExitCode } from '../exit-codes.ts';
import { gather, money, pairs, readText } from '../input.ts';
import { dollars } from '../render/money.ts';
import { visible } from '../render/text.ts';
import type { Session } from '../session.ts';
import { note, print } from '../terminal.ts';
import { watchRun } from '../watch.ts';

interface StartOptions {
  readonly agent: string;
  readonly agentHash?: string;
  readonly input?: string;
  readonly inputFile?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly tool?: readonly string[];
  readonly budget?: bigint;
  readonly resource?: readonly string[];
  readonly continues?: string;
  readonly requestId?: string;
  readonly watch?: true;
  readonly text?: true;
}

/** Adds `run start`. */
export function addRunStart(parent: Command): void {
  parent
    .command('start')
    .summary('start a run')
    .description('Starts a run of an agent. The run goes on by itself; --watch shows it live.')
    .argument('[input]', "what you want done; '-' reads standard input")
    .requiredOption('--agent <name>', 'the agent to run')
    .option('--agent-hash <hash>', 'a version of it other than the current one')
    .option('--input <text>', 'what you want done')
    .option('--input-file <file>', "a file that says what you want done; '-' is standard input")
    .option('--label <key=value>', 'a label to find the run by; may be repeated', pairs)
    .option('--tool <name>', "keep only this of the agent's tools; may be repeated", gather)
    .option('--budget <dollars>', 'spend at most this, as in 0.20', money)
    .option('--resource <kind/id>', 'touch only this record, as in project/apollo; may be repeated', gather)
    .option('--continues <run>', 'go on with the conversation of a run that has ended')
    .option('--request-id <id>', 'start once per id, however often this is repeated')
    .option('--watch', 'show the run live until it ends')
    .option('--text', "with --watch: also the model's words as they come")
    .action(action<StartOptions>(start));
}

async function start(session: Session, options: StartOptions, args: readonly string[]): Promise<ExitCode | undefined> {
  const requestId = options.requestId ?? randomUUID();
  const request: MessageInitShape<typeof StartRunRequestSchema> = {
    requestId,
    agent: options.agent,
    agentHash: options.agentHash ?? '',
    input: await inputOf(options, args[0]),
    labels: { ...options.label },
    continues: options.continues ?? '',
    ...(narrows(options)
      ? {
          narrowing: {
            tools: [...(options.tool ?? [])],
            budgetMicroUsd: options.budget ?? 0n,
            resources: [...(options.resource ?? [])],
          },
        }
      : {}),
  };
  session.requestId = requestId;
  const answer = await session.wait('Starting the run', session.runs.startRun(request));
  session.requestId = undefined;
  const { run, repeated } = answer;
  if (run === undefined) throw new StewardError('INTERNAL', 'run-api answered without a run.');
  if (repeated) session.remark(`The request id ${requestId} had started this run before.`);
  if (options.watch !== true) {
    session.show(StartRunResponseSchema, answer, () => started(run, session));
    return undefined;
  }
  if (session.json) print([documentText(toDocument(StartRunResponseSchema, answer), 'line')]);
  else if (run.status === RunStatus.QUEUED) note(`Queued: ${visible(run.stopReason)}`);
  return await watchRun(session, run.id, { after: 0n, text: options.text === true });
}

function narrows({ tool, budget, resource }: StartOptions): boolean {
  return tool !== undefined || budget !== undefined || resource !== undefined;
}

async function inputOf(options: StartOptions, argument: string | undefined): Promise<string> {
  const given = [argument, options.input, options.inputFile].filter((one) => one !== undefined);
  if (given.length !== 1) {
    const fault = given.length === 0 ? 'Say what you want done' : 'Say what you want done once';
    throw new StewardError('INVALID_REQUEST', `${fault}: as an argument, with --input, or with --input-file.`);
  }
  const text =
    options.inputFile !== undefined || argument === '-' || options.input === '-'
      ? await readText(options.inputFile ?? '-')
      : (given[0] ?? '');
  if (text.trim() === '') throw new StewardError('INVALID_REQUEST', 'What you want done is empty.');
  return text;
}

function started(run: Run, session: Session): readonly string[] {
  const { paint } = session.look;
  const verb = run.status === RunStatus.QUEUED ? `queued (${visible(run.stopReason)})` : 'started';
  const budget = run.cost === undefined ? '' : `, budget ${dollars(run.cost.budgetMicroUsd)}`;
  return [
    `${paint.bold(visible(run.id))} ${verb}: ${visible(run.agent)} for ${visible(run.actingUser)}${budget}`,
    `  watch it:  ${session.command} run watch ${visible(run.id)}`,
    ...(run.temporalUi === '' ? [] : [`  Temporal:  ${visible(run.temporalUi)}`]),
  ];
}
