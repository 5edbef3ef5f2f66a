import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { workflowBundle } from '#services/worker/bundle.ts';

Runtime.install({ logger: new DefaultLogger('ERROR') });

const FOLDER = join(import.meta.dirname, 'histories');

interface Entry {
  readonly file: string;
  readonly sha256: string;
  readonly origin: string;
}

const manifest = JSON.parse(await readFile(join(FOLDER, 'manifest.json'), 'utf8')) as Entry[];
let codePath: string;

beforeAll(async () => {
  codePath = await workflowBundle(undefined);
}, 60_000);

async function replay(file: string): Promise<void> {
  const json: unknown = JSON.parse(await readFile(join(FOLDER, file), 'utf8'));
  await Worker.runReplayHistory({ workflowBundle: { codePath } }, historyFromJSON(json), 'run/replayed');
}

const compatible = manifest.filter((entry) => !entry.file.includes('incompatible'));
const incompatible = manifest.filter((entry) => entry.file.includes('incompatible'));

test('the corpus has at least 8 shapes of run and one incompatible history', () => {
  expect(compatible.length).toBeGreaterThanOrEqual(8);
  expect(incompatible.length).toBeGreaterThanOrEqual(1);
});

test.each(manifest)('$file is as it was recorded', async ({ file, sha256 }) => {
  const bytes = await readFile(join(FOLDER, file));
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
});

test.each(compatible)('$file replays: $origin', async ({ file }) => {
  await replay(file);
});

test.each(incompatible)('$file is refused: $origin', async ({ file }) => {
  await expect(replay(file)).rejects.toThrow(DeterminismViolationError);
});
