import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import { isRole, ROLES, type Role } from '#platform/identity/principal.ts';
import { documentText } from '../document.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { span } from '../input.ts';
import { report } from '../report.ts';
import { commandName, print } from '../terminal.ts';
import { runDoctor } from './doctor.ts';
import { LOCAL_PERSON } from './person.ts';

interface TokenOptions {
  readonly subject: string;
  readonly tenant: string;
  readonly role?: readonly Role[];
  readonly onBehalfOf?: string;
  readonly ttl: number;
  readonly audience?: string;
  readonly json?: true;
}

/** Adds `dev` and its commands. */
export function addDev(program: Command): void {
  const dev = program
    .command('dev')
    .summary('run Steward on this machine')
    .description('Runs Steward on this machine.');
  dev
    .command('up')
    .summary('start everything here, until Ctrl-C')
    .description(
      'Starts Temporal, Postgres, the services and the worker on this machine, until Ctrl-C. Keeps the data.',
    )
    .action(own(up));
  dev
    .command('token')
    .summary('mint a token for the local environment')
    .description('Prints a token that the local environment accepts, signed with the key made at its first start.')
    .option('--subject <subject>', 'whom it is for', LOCAL_PERSON.subject)
    .option('--tenant <tenant>', 'of which tenant', LOCAL_PERSON.tenant)
    .option(
      '--role <role>',
      `one of ${ROLES.join(', ')}; may be repeated (default: ${LOCAL_PERSON.roles.join(', ')})`,
      role,
    )
    .option('--on-behalf-of <subject>', 'the user a service acts for')
    .option('--ttl <span>', 'how long it is valid', span, 3_600_000)
    .option('--audience <audience>', "whom it is shown to (default: the local environment's own)")
    .action(own(token));
  dev
    .command('doctor')
    .summary('say what is missing here, and how to get it')
    .description('Looks for everything the local environment needs, and says what is missing and how to get it.')
    .action(own(runDoctor));
}

/** These commands need no service, and so no session. */
function own<Options extends { readonly json?: true }>(
  run: (options: Options) => Promise<ExitCode>,
): (...all: unknown[]) => Promise<void> {
  return async (...all) => {
    const options = (all.at(-1) as Command).optsWithGlobals() as Options;
    try {
      process.exitCode = await run(options);
    } catch (error) {
      process.exitCode = report(error, null, options.json === true, commandName());
    }
  };
}

function role(text: string, before: readonly Role[] = []): readonly Role[] {
  if (!isRole(text)) throw new InvalidArgumentError(`Write one of ${ROLES.join(', ')}.`);
  return [...before, text];
}

async function token(options: TokenOptions): Promise<ExitCode> {
  const { subject, tenant, ttl, onBehalfOf, audience } = options;
  const roles = options.role ?? (onBehalfOf === undefined ? LOCAL_PERSON.roles : (['service'] as const));
  const ttlSeconds = Math.max(1, Math.round(ttl / 1000));
  const { mintLocal } = await import('./local.ts');
  const text = await mintLocal({
    subject,
    tenant,
    roles,
    ttlSeconds,
    ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
    ...(audience === undefined ? {} : { audience }),
  });
  const expiresAt = new Date(Date.now() + ttlSeconds * 1000).toISOString();
  print([options.json === true ? documentText({ token: text, subject, tenant, roles, expiresAt }) : text]);
  return EXIT.ok;
}

async function up(): Promise<ExitCode> {
  const launcher = spawn(process.execPath, [join(REPOSITORY, 'deploy', 'dev', 'start.ts'), '--serve'], {
    stdio: 'inherit',
  });
  const pass = (): void => void launcher.kill('SIGTERM');
  // A terminal's Ctrl-C reaches the launcher too; this process only waits for it to have cleaned up.
  const stay = process.stdin.isTTY === true ? (): void => {} : pass;
  process.on('SIGINT', stay);
  process.on('SIGTERM', pass);
  try {
    return await new Promise((done, fail) => {
      launcher.once('error', fail);
      launcher.once('exit', (code) => done(code === 0 ? EXIT.ok : code === null ? EXIT.interrupted : EXIT.failed));
    });
  } finally {
    process.removeListener('SIGINT', stay);
    process.removeListener('SIGTERM', pass);
  }
}
