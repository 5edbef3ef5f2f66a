import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import { workflowIdOf } from '#domain/ids.ts';
import { buildBundle } from '#services/worker/bundle.ts';
import type { TestStack } from '#test/support/stack.ts';

/** Where the release to come differs, and how: a timer before every turn, which old histories do not have. */
const IMPORT = ['  workflowInfo,\n}', '  patched,\n  sleep,\n  workflowInfo,\n}'] as const;
const TURN = 'const end = await this.#turn(';
const PATCHED = "if (patched('chaos-next-release')) await sleep(1);";
const UNPATCHED = 'if (patched.length >= 0) await sleep(1);';

/**
 * Bundles the workflows of a release to come into `folder`: this source tree's with one more command in every turn,
 * behind a patch or, to see what that is for, without one. Returns its path.
 */
export async function nextRelease(folder: string, options: { readonly patched: boolean }): Promise<string> {
  // Within the repository, so that what it imports is found.
  const copy = await mkdtemp(join(REPOSITORY, '.cache', 'next-release-'));
  try {
    await cp(join(REPOSITORY, 'workflows'), copy, { recursive: true, filter: (path) => !path.endsWith('.test.ts') });
    const file = join(copy, 'agent-run/agent-run.ts');
    const source = await readFile(file, 'utf8');
    const changed = source.replace(...IMPORT).replace(TURN, `${options.patched ? PATCHED : UNPATCHED}\n      ${TURN}`);
    if (!changed.includes(IMPORT[1]) || !changed.includes('sleep(1)')) {
      throw new Error('agent-run.ts has changed: the places where the next release differs are not there any more');
    }
    await writeFile(file, changed);
    const path = join(folder, 'next-release.cjs');
    await writeFile(path, await buildBundle(copy));
    return path;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** How often a workflow task failed because the code did not fit a run's history. */
export async function nonDeterminismOf(s: TestStack, runs: readonly string[]): Promise<number> {
  let found = 0;
  for (const run of runs) {
    const history = await s.temporal.client.workflow.getHandle(workflowIdOf(run)).fetchHistory();
    found += (history.events ?? []).filter(
      ({ workflowTaskFailedEventAttributes: failed }) =>
        failed?.cause === NON_DETERMINISTIC || /nondetermin|\[TMPRL1100\]/i.test(failed?.failure?.message ?? ''),
    ).length;
  }
  return found;
}

/** temporal.api.enums.v1.WorkflowTaskFailedCause */
const NON_DETERMINISTIC = 24;
