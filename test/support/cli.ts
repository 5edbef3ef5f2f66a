import { spawn } from 'node:child_process';
import { join } from 'node:path';

/** How an invocation of the command ended. */
export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  /** The whole environment beside PATH: variables of the caller's own must not decide a test. */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input; it is empty otherwise. */
  readonly stdin?: string;
  /** Called with standard output so far, for instance to send a signal once something was shown. */
  readonly onOutput?: (stdout: string, kill: (signal: NodeJS.Signals) => void) => void;
  /** Milliseconds after which it is killed. Default 30 s. */
  readonly timeoutMs?: number;
}

const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');

/** Runs the real `steward` command as a process of its own, without a terminal. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env.PATH ?? '', TZ: 'UTC', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 30_000,
    killSignal: 'SIGKILL',
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
    options.onOutput?.(output.stdout, (signal) => child.kill(signal));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  // It may have ended before it read anything.
  child.stdin.on('error', () => {});
  child.stdin.end(options.stdin ?? '');
  const code = await new Promise<number | null>((done, fail) => {
    child.once('error', fail);
    child.once('close', done);
  });
  return { code, ...output };
}
