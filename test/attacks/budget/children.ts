import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ChildTask, Said } from './child.ts';

const CHILD_MS = 120_000;

/** Plays a task in a process of its own, which is killed where it hangs. Resolves when it is gone. */
export async function playChild(task: ChildTask, hear: (said: Said) => void): Promise<'done' | 'killed'> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const gone = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const limit = setTimeout(() => child.kill('SIGKILL'), CHILD_MS);
  child.stdin.end(JSON.stringify(task));
  let killed = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Said;
    hear(said);
    if (said.what !== 'hangs') continue;
    killed = true;
    child.kill('SIGKILL');
  }
  const code = await gone;
  clearTimeout(limit);
  if (!killed && code !== 0) throw new Error(`A child ended with ${code}.`);
  return killed ? 'killed' : 'done';
}
