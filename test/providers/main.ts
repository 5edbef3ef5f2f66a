import { testStack } from '#test/support/stack.ts';
import { BEHAVIOURS } from './behaviours.ts';
import { contractBench, PROVIDERS, type Provider } from './bench.ts';
import { FallbackWorld, RETRY_MS, SCENARIOS } from './fallbacks.ts';
import { type ProvidersOptions, readOptions, USAGE, UsageError } from './options.ts';

const INTERRUPTED = 130;
/** One behaviour or scenario takes at most so long. */
const LIMIT_MS = 90_000;

/** What one check came to; `fault` null: as it must be. */
interface Outcome {
  readonly name: string;
  readonly fault: string | null;
}

/** Whether both model adapters keep their contract, and runs their course while a provider is out: figures of this run. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const stop = Promise.withResolvers<never>();
  stop.promise.catch(() => undefined);
  const onSignal = () => stop.reject(new Error('stopped'));
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const began = performance.now();
  const check = async (name: string, work: () => Promise<void>): Promise<Outcome> => {
    const late = AbortSignal.timeout(LIMIT_MS);
    const expired = new Promise<never>((_, reject) => {
      late.addEventListener('abort', () => reject(new Error(`took longer than ${LIMIT_MS / 1_000} s`)));
    });
    const fault = await Promise.race([work(), expired, stop.promise]).then(
      () => null,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
    process.stderr.write(`${seconds} s  ${fault === null ? 'ok  ' : 'FAIL'}  ${name}\n`);
    return { name, fault };
  };
  try {
    const kept: Record<Provider, readonly Outcome[]> = { anthropic: [], openai: [] };
    for (const provider of PROVIDERS) kept[provider] = await Promise.race([contract(provider, check), stop.promise]);
    const fallbacks = await fallbackScenarios(options, check, stop.promise);
    const all = [...Object.values(kept), fallbacks].flat();
    const figures = {
      behaviours: BEHAVIOURS.length,
      anthropic: passed(kept.anthropic),
      openai: passed(kept.openai),
      fallbacks: passed(fallbacks),
      failed: all.filter(({ fault }) => fault !== null).map(({ name }) => name),
      seconds: Math.round((performance.now() - began) / 1_000),
      ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
    };
    const table = [
      '',
      `  ${'behaviour'.padEnd(96)} anthropic openai`,
      ...BEHAVIOURS.map(({ name }, at) => `  ${name.padEnd(96)} ${mark(kept.anthropic[at])}  ${mark(kept.openai[at])}`),
      '',
      `  ${'fallback'.padEnd(106)}`,
      ...fallbacks.map((one) => `  ${one.name.padEnd(106)} ${mark(one)}`),
      ...all.flatMap(({ name, fault }) => (fault === null ? [] : ['', `${name}:`, `  ${fault.slice(0, 1_500)}`])),
    ];
    (options.json ? process.stderr : process.stdout).write(`${table.join('\n')}\n`);
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    const asItMustBe = options.sabotage === null ? figures.failed.length === 0 : figures.failed.length > 0;
    return asItMustBe ? 0 : 1;
  } catch (error) {
    if (error instanceof Error && error.message === 'stopped') return INTERRUPTED;
    process.stderr.write(
      `The suite failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    return 1;
  }
}

type Check = (name: string, work: () => Promise<void>) => Promise<Outcome>;

async function contract(provider: Provider, check: Check): Promise<readonly Outcome[]> {
  const bench = await contractBench(provider);
  try {
    const outcomes: Outcome[] = [];
    for (const behaviour of BEHAVIOURS) {
      outcomes.push(await check(`${provider}: ${behaviour.name}`, () => behaviour.check(bench)));
    }
    return outcomes;
  } finally {
    await bench.close();
  }
}

async function fallbackScenarios(
  options: ProvidersOptions,
  check: Check,
  stopped: Promise<never>,
): Promise<readonly Outcome[]> {
  const stack = await testStack({ serviceEnv: { worker: { STEWARD_MODEL_RETRY_MS: String(RETRY_MS) } } });
  try {
    const world = new FallbackWorld(stack, options.sabotage === 'fallback');
    const outcomes: Outcome[] = [];
    for (const { name, check: play } of SCENARIOS) {
      outcomes.push(await Promise.race([check(name, () => play(world)), stopped]));
    }
    return outcomes;
  } finally {
    await stack.stop();
  }
}

const passed = (outcomes: readonly Outcome[]): number => outcomes.filter(({ fault }) => fault === null).length;

function mark(outcome: Outcome | undefined): string {
  return outcome?.fault === null ? 'ok      ' : 'FAILED  ';
}

function read(): ProvidersOptions | null | number {
  try {
    const options = readOptions(process.argv.slice(2));
    if (options === null) process.stdout.write(`${USAGE}\n`);
    return options;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${USAGE}\n`);
    return 2;
  }
}

process.exit(await main());
