import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  ApplyAgentResponseSchema,
  GetAgentResponseSchema,
  ListAgentsResponseSchema,
} from '#gen/steward/admin/v1/admin_service_pb.ts';
import { action } from '../action.ts';
import { documentText, toDocument } from '../document.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { readText, whole } from '../input.ts';
import { agentLines, agentTable } from '../render/agent.ts';
import { visible, visibleLines } from '../render/text.ts';
import { report } from '../report.ts';
import type { Session } from '../session.ts';
import { print } from '../terminal.ts';

/** Adds `agent` and its commands. */
export function addAgent(program: Command): void {
  const agent = program.command('agent').summary('define agents').description('Defines agents.');
  agent
    .command('apply')
    .summary('make definitions current')
    .description('Validates agent definitions (YAML) and makes them current. The same content again changes nothing.')
    .argument('<files...>', "definitions; '-' reads standard input")
    .action(action(apply));
  addList(agent);
  addGet(agent);
}

async function apply(session: Session, _options: unknown, files: readonly string[]): Promise<ExitCode> {
  const results: unknown[] = [];
  let exitCode: ExitCode = EXIT.ok;
  for (const file of files) {
    try {
      const yaml = await readText(file);
      const answer = await session.wait(`Applying ${file}`, session.admin.applyAgent({ yaml }));
      results.push({ file, ...(toDocument(ApplyAgentResponseSchema, answer) as object) });
      if (!session.json) print([applied(file, answer.changed, answer.agent?.name, answer.agent?.hash)]);
    } catch (error) {
      const code = report(files.length > 1 ? naming(file, error) : error, session, session.json, session.command);
      if (exitCode === EXIT.ok) exitCode = code;
    }
  }
  if (session.json) print([documentText({ results })]);
  return exitCode;
}

function applied(file: string, changed: boolean, name = '', hash = ''): string {
  return `${visible(name)}@${visible(hash.slice(0, 12))}  ${changed ? 'applied' : 'was current already'}  (${visible(file)})`;
}

function naming(file: string, error: unknown): unknown {
  const known = error instanceof StewardError;
  return known
    ? new StewardError(error.code, `${file}: ${error.message}`, { details: error.details, cause: error })
    : error;
}

function addList(agent: Command): void {
  agent
    .command('list')
    .summary('list the current versions')
    .description('Lists the current versions, by name.')
    .option('--limit <n>', 'at most so many', whole(1, 100), 50)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<{ readonly limit: number; readonly pageToken?: string }>(async (session, { limit, pageToken }) => {
        const request = { pageSize: limit, pageToken: pageToken ?? '' };
        const answer = await session.wait('Waiting for run-api', session.admin.listAgents(request));
        session.show(ListAgentsResponseSchema, answer, () =>
          answer.agents.length === 0 ? ['No agents.'] : agentTable(answer.agents, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function addGet(agent: Command): void {
  agent
    .command('get')
    .summary('show one version')
    .description('Shows one version of an agent, with its definition.')
    .argument('<name>', 'agent name')
    .option('--hash <hash>', 'a version other than the current one')
    .option('--yaml', 'only the definition, as it was applied')
    .action(
      action<{ readonly hash?: string; readonly yaml?: true }>(async (session, options, [name = '']) => {
        const request = { name, hash: options.hash ?? '' };
        const answer = await session.wait('Waiting for run-api', session.admin.getAgent(request));
        const { agent: version } = answer;
        if (version === undefined) throw new StewardError('INTERNAL', 'run-api answered without an agent.');
        const text = version.yaml.replace(/\n$/, '');
        // Into a file it goes as it is, on a terminal it is made harmless.
        const definition = process.stdout.isTTY ? visibleLines(text) : [text];
        session.show(GetAgentResponseSchema, answer, () =>
          options.yaml === true
            ? definition
            : [...agentLines(version, session.look), '', ...visibleLines(text).map((line) => `  ${line}`)],
        );
        return undefined;
      }),
    );
}
