import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPOSITORY, resolvePaths } from '#deploy/dev/paths.ts';
import { CATALOGS } from '#deploy/dev/secrets.ts';
import { seedDemo } from '#deploy/dev/seed.ts';
import { type Stack, startStack } from '#deploy/dev/stack.ts';
import { isStewardError } from '#domain/errors.ts';
import { lookFor } from '../render/look.ts';
import { note, print } from '../terminal.ts';
import { playDemo } from './demo.ts';

const HELP = `npm start [-- --once]

Brings up the embedded default (Temporal, Postgres, Steward's services, a worker and, without ANTHROPIC_API_KEY or
OPENAI_API_KEY, the offline model), plays one run in this terminal, and stays up until Ctrl-C.

  --once    decide as a second local user instead of asking, print figures as one JSON line, end with exit code 0
  --help    this text`;

const INPUT = 'Close out the Apollo release';

/** The main job: everything up, one run in the terminal, everything down. */
async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => arg !== '--once' && arg !== '--help');
  if (unknown !== undefined || args.includes('--help')) {
    print([unknown === undefined ? HELP : `Unknown argument ${unknown}.\n\n${HELP}`]);
    return unknown === undefined ? 0 : 2;
  }
  const once = args.includes('--once');
  const stop = new AbortController();
  const onSignal = () => {
    if (!stop.signal.aborted) note('Stopping; data is kept.');
    stop.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);

  let stack: Stack | undefined;
  try {
    stack = await startStack({ paths: await resolvePaths(), onProgress: note, signal: stop.signal });
    void stack.lost.then((name) => {
      if (stop.signal.aborted) return;
      note(`${name} has ended by itself; its log is beside the others. Stopping.`);
      stop.abort();
    });
    print(addresses(stack));
    await seedDemo(stack);
    const agentYaml = await readFile(join(REPOSITORY, 'agents/release-closer.yaml'), 'utf8');
    const figures = await playDemo(stack, {
      agentYaml,
      agent: 'release-closer',
      input: INPUT,
      once,
      signal: stop.signal,
    });
    if (!once && !stop.signal.aborted) {
      print(['Everything stays up until Ctrl-C. Look at the run in Temporal, or try: npm run steward -- run list', '']);
      await new Promise<void>((done) => {
        if (stop.signal.aborted) done();
        stop.signal.addEventListener('abort', () => done(), { once: true });
      });
    }
    await stack.stop();
    if (once) process.stdout.write(`${JSON.stringify(figures)}\n`);
    return figures.status === 'completed' || stop.signal.aborted ? 0 : 1;
  } catch (error) {
    await stack?.stop();
    if (stop.signal.aborted) return 130;
    note(
      isStewardError(error) ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
    return 1;
  }
}

function addresses(stack: Stack): readonly string[] {
  const { paint } = lookFor(process.stdout);
  const rows: readonly (readonly [string, string])[] = [
    ['run-api', stack.addresses['run-api']],
    ['guard', stack.addresses.guard],
    ['catalogs', CATALOGS.map((name) => `${name} ${stack.addresses[name]}`).join(', ')],
    ['model', stack.offlineModel ?? 'Anthropic'],
    ['Temporal', `${stack.environment.temporal}, Web UI ${stack.environment.temporalUi}`],
    ['mail', `${stack.addresses['mail-sink']}, kept in ${stack.mailFile}`],
  ];
  return ['', ...rows.map(([name, value]) => `  ${paint.dim(name.padEnd(9))} ${value}`)];
}

process.exit(await main());
