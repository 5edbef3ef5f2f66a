import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckResult } from './check-kit.ts';

const ENTRY = 'workflows/index.ts';

/** What Temporal may replay: the workflow side of the SDK and what that is made of. */
const ALLOWED = new Set(['@temporalio/common', '@temporalio/workflow', 'long', 'ms', 'nexus-rpc']);

/** The workflow bundle builds, and holds nothing but our workflows, domain and the workflow side of the SDK. */
export async function checkBundle(root: string): Promise<CheckResult> {
  if (!existsSync(join(root, ENTRY))) return { problems: [], notes: [`${ENTRY} does not exist yet`] };
  const { bundleWorkflowCode } = await import('@temporalio/worker');
  const messages: string[] = [];
  const keep = (...parts: unknown[]): void => void messages.push(parts.map(String).join(' '));
  const logger = { log: keep, trace: () => {}, debug: () => {}, info: () => {}, warn: keep, error: keep };
  try {
    const { code } = await bundleWorkflowCode({ workflowsPath: join(root, ENTRY), logger });
    return {
      problems: foreignPackages(code).map(
        (name) => `the workflow bundle contains ${name}; keep it out of workflows and domain`,
      ),
      notes: [`bundle of ${Math.round(Buffer.byteLength(code) / 1024)} KiB`],
    };
  } catch (error) {
    return { problems: [`the workflow bundle does not build: ${String(error)}`, ...messages] };
  }
}

/** Installed packages in a bundle's code that have no business there, sorted. */
export function foreignPackages(code: string): string[] {
  // Webpack names every module by its path; the last node_modules in it is the package's own.
  const paths = code.matchAll(/node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\/(?!node_modules\/)/g);
  const names = new Set([...paths].map((match) => match[1] ?? ''));
  return [...names].filter((name) => !ALLOWED.has(name)).sort();
}
