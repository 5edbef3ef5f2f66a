import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** What one check found. It passes when `problems` is empty; `notes` are printed either way. */
export interface CheckResult {
  problems: string[];
  notes?: string[];
}

/** One line of `npm run check`. `run` gets the repository's root and rejects only on a bug or a missing tool. */
export interface Check {
  name: string;
  run: (root: string) => Promise<CheckResult>;
}

/** How a command ended. `status` is null where it was killed, by its time limit or otherwise. */
export interface CommandResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/**
 * Runs a program with the repository's own tools first on the PATH. A non-zero status is a result, not an error; rejects
 * where the program cannot be started.
 */
export function runCommand(root: string, command: string, args: string[], timeoutMs = 120_000): Promise<CommandResult> {
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter);
  return new Promise((resolve, reject) => {
    execFile(
      command,
      args,
      {
        cwd: root,
        env: { ...process.env, PATH: path, NO_COLOR: '1' },
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: MAX_OUTPUT_BYTES,
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ status: 0, stdout, stderr });
        if (typeof error.code === 'number') return resolve({ status: error.code, stdout, stderr });
        if (error.killed || error.signal) {
          return resolve({ status: null, stdout, stderr: `${stderr}\n${command} was killed after ${timeoutMs} ms` });
        }
        reject(new Error(`${command} could not be started (${error.message}); run npm ci first`, { cause: error }));
      },
    );
  });
}

/** A check that is one command: its output is the problem where it does not exit with 0. */
export async function commandCheck(root: string, command: string, args: string[]): Promise<CheckResult> {
  const { status, stdout, stderr } = await runCommand(root, command, args);
  if (status === 0) return { problems: [] };
  const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '');
  return { problems: lines.length > 0 ? lines : [`${command} ${args.join(' ')} ended with status ${status}`] };
}

/** The files git tracks or would track (new and not ignored), relative to the root, sorted. */
export async function listFiles(root: string): Promise<string[]> {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const { status, stdout, stderr } = await runCommand(root, 'git', args);
  if (status !== 0) throw new Error(`git cannot list the files of ${root}: ${stderr.trim()}`);
  const files = new Set(stdout.split('\0').filter((file) => file !== ''));
  return [...files].filter((file) => existsSync(join(root, file))).sort();
}

/** Whether a file is TypeScript or JavaScript somebody wrote by hand. */
export function isHandWritten(file: string): boolean {
  return /\.(?:ts|tsx|js|mjs)$/.test(file) && !file.startsWith('protos/gen/');
}
