import { createInterface } from 'node:readline/promises';
import { lookFor } from './render/look.ts';

const FIRST_MS = 1_000;
const LINE_MS = 10_000;
const FRAME_MS = 100;
const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/** Ends quietly where the reader of our output has gone away, as `head` does. Call it once, before any output. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

/** Lines for the reader of the result, on stdout. */
export function print(lines: readonly string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
}

/** A remark beside the result, on stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** How the reader calls this command, for the commands we tell them. */
export function commandName(env: Readonly<Record<string, string | undefined>> = process.env): string {
  // `npm start` shows a run and ends with the commands to go on with.
  if (env.npm_lifecycle_event === 'steward' || env.npm_lifecycle_event === 'start') return 'npm run steward --';
  return env.npm_command === 'exec' ? 'npx steward' : 'steward';
}

/** True where a question can be asked and answered. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks a yes-or-no question at the terminal. Anything but yes, and no answer at all, is no. */
export async function confirm(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const closed = new AbortController();
  lines.once('SIGINT', () => lines.close());
  lines.once('close', () => closed.abort());
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal: closed.signal });
    return /^y(?:es)?$/i.test(answer.trim());
  } catch {
    note('');
    return false;
  } finally {
    lines.close();
  }
}

/**
 * Waits for the work and, once it has taken a second, says on stderr that it is being waited for: a spinner at a
 * terminal, else a line every ten seconds.
 */
export async function withProgress<T>(what: string, work: Promise<T>): Promise<T> {
  const began = Date.now();
  const seconds = (): string => `${Math.round((Date.now() - began) / 1000)} s`;
  const spins = process.stderr.isTTY === true;
  const { paint } = lookFor(process.stderr);
  let frame = 0;
  let told = false;
  const tell = (): void => {
    told = true;
    if (!spins) note(`${what}: ${seconds()}`);
    else process.stderr.write(`\r\u001b[K${paint.cyan(FRAMES[frame++ % FRAMES.length] ?? '')} ${what}: ${seconds()}`);
    timer = setTimeout(tell, spins ? FRAME_MS : LINE_MS);
  };
  let timer = setTimeout(tell, FIRST_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
    if (told && spins) process.stderr.write('\r\u001b[K');
  }
}
