import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type CheckResult, commandCheck, runCommand } from './check-kit.ts';

/** Where generated code lies, from the root. */
export const GENERATED = 'protos/gen';

/** The image of the contracts that `buf breaking` compares with. */
export const BASELINE = 'protos/baseline.binpb';

/** The checked-in generated code is what the contracts generate now. */
export async function checkGenerated(root: string): Promise<CheckResult> {
  const directory = mkdtempSync(join(tmpdir(), 'steward-generated-'));
  try {
    const { status, stderr } = await runCommand(root, 'buf', ['generate', '--output', directory]);
    if (status !== 0) return { problems: [`buf generate failed: ${stderr.trim()}`] };
    return { problems: differences(join(root, GENERATED), join(directory, GENERATED)) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The contracts break nothing that is in the baseline image. */
export async function checkBreaking(root: string): Promise<CheckResult> {
  if (!existsSync(join(root, BASELINE))) {
    return { problems: [`${BASELINE} is missing; npm run baseline writes it, from the contracts as released`] };
  }
  return commandCheck(root, 'buf', ['breaking', '--against', BASELINE]);
}

/** How the files of two folders differ, told from the point of view of the first. */
export function differences(checkedIn: string, fresh: string): string[] {
  const names = new Set([...filesIn(checkedIn), ...filesIn(fresh)]);
  return [...names].sort().flatMap((name) => {
    const [ours, theirs] = [join(checkedIn, name), join(fresh, name)];
    if (!existsSync(ours)) return [`${GENERATED}/${name} is missing; run npm run generate`];
    if (!existsSync(theirs)) return [`${GENERATED}/${name} comes from no contract any more; run npm run generate`];
    if (readFileSync(ours).equals(readFileSync(theirs))) return [];
    return [`${GENERATED}/${name} is not what its contract generates; run npm run generate`];
  });
}

function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}
