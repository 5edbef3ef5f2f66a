import { createHash } from 'node:crypto';
import { glob, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/**
 * The SDK takes a stack trace of every promise a workflow makes, for the page of stack traces in Temporal's Web UI; at
 * the usual ten frames that was a third of what a workflow costs. Two say where an error was thrown.
 */
const FRAMES = 2;

/** Bundles the workflows of this source tree, or of a changed copy of its folder. Takes 1-3 s. */
export async function buildBundle(workflows: string = join(ROOT, 'workflows')): Promise<string> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(workflows, 'index.ts'),
    workflowInterceptorModules: [join(workflows, 'interceptors.ts')],
    logger: {
      log() {},
      trace() {},
      debug() {},
      info() {},
      warn() {},
      error: (message) => process.stderr.write(`${message}\n`),
    },
  });
  return `Error.stackTraceLimit=${FRAMES};${code}`;
}

/**
 * The path of a workflow bundle: `prebuilt` where one is given (as in images), else one in `.cache`, built anew whenever
 * a source of it has changed. Any number of starters may call this at once.
 */
export async function workflowBundle(prebuilt: string | undefined): Promise<string> {
  if (prebuilt) return prebuilt;
  const path = join(ROOT, '.cache', `workflows-${await sourceHash()}.cjs`);
  const found = await readFile(path).catch(() => null);
  if (found) return path;
  const code = await buildBundle();
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, code);
  await rename(draft, path);
  return path;
}

async function sourceHash(): Promise<string> {
  const hash = createHash('sha256');
  const files: string[] = ['package-lock.json', 'services/worker/bundle.ts'];
  for await (const file of glob('{workflows,domain}/**/*.ts', { cwd: ROOT })) files.push(file);
  for (const file of files.toSorted()) {
    hash.update(file).update(await readFile(join(ROOT, file)));
  }
  return hash.digest('hex').slice(0, 16);
}
