import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addAgent } from './commands/agent.ts';
import { addApproval } from './commands/approval.ts';
import { addAudit } from './commands/audit.ts';
import { addBudget } from './commands/budget.ts';
import { addIncident } from './commands/incident.ts';
import { addInvestigate } from './commands/investigate.ts';
import { addKill } from './commands/kill.ts';
import { addLimit } from './commands/limit.ts';
import { addRun } from './commands/run.ts';
import { addTool } from './commands/tool.ts';
import { addDev } from './dev/command.ts';
import { EXIT_HELP } from './exit-codes.ts';
import { span } from './input.ts';

const ENVIRONMENT_HELP = `Environment:
  STEWARD_ADDRESS        run-api, as host:port, or https://host:port for TLS
  STEWARD_GUARD_ADDRESS  guard, for approvals and kill switches
  STEWARD_TOKEN          a bearer token
  STEWARD_TOKEN_FILE     a file with one, read again as it changes
  NO_COLOR               no colours

Where no address is named and a local environment was started in this folder (dev up), that is used.
With --json a command answers with one JSON document in protobuf's JSON mapping; watch with one per line.`;

/** The whole command. Faults of usage throw CommanderError instead of ending the process. */
export function createProgram(): Command {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  };
  const program = new Command('steward')
    .description('Runs AI agents inside budgets, policies and approvals.')
    .version(manifest.version, '-V, --version')
    .option('--json', 'answer in JSON')
    .option('--address <address>', 'run-api (STEWARD_ADDRESS)')
    .option('--guard-address <address>', 'guard (STEWARD_GUARD_ADDRESS)')
    .option('--token-file <file>', 'a file with a bearer token (STEWARD_TOKEN_FILE)')
    .option('--timeout <span>', 'how long one call may take (default: 10s)', span)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'steward: ')) })
    .exitOverride()
    .addHelpText('after', `\n${ENVIRONMENT_HELP}`)
    .addHelpText('afterAll', `\n${EXIT_HELP}`);
  addRun(program);
  addApproval(program);
  addKill(program);
  addAgent(program);
  addTool(program);
  addBudget(program);
  addAudit(program);
  addInvestigate(program);
  addIncident(program);
  addLimit(program);
  addDev(program);
  return program;
}
