import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Runs `body` in a fresh git repository with these files, and removes it afterwards. */
export async function withRepository(
  files: Record<string, string>,
  body: (root: string) => Promise<void>,
): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'steward-check-'));
  try {
    git(root, 'init', '--quiet');
    addFiles(root, files);
    await body(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Writes files into a repository made by {@link withRepository}. */
export function addFiles(root: string, files: Record<string, string>): void {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
}

/** Commits everything there is and tags it as a release. */
export function release(root: string, tag: string): void {
  git(root, 'add', '--all');
  git(root, '-c', 'user.name=t', '-c', 'user.email=t@example.com', 'commit', '--quiet', '--message', tag);
  git(root, 'tag', tag);
}

function git(root: string, ...args: string[]): void {
  execFileSync('git', args, { cwd: root, stdio: 'pipe' });
}
