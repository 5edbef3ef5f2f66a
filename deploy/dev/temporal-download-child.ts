/**
 * Run by temporal-download.ts: has the SDK's testing package fetch the Temporal CLI of a version into a directory.
 * The package can only do so on the way to starting a server, which is ended at once.
 */

import { TestWorkflowEnvironment } from '@temporalio/testing';
import type { DownloadReport } from './temporal-download.ts';

const [version = '', downloadDir = ''] = process.argv.slice(2);

function report(what: DownloadReport): Promise<void> {
  return new Promise((done) => {
    if (process.send === undefined) done();
    else process.send(what, () => done());
  });
}

await report({ state: 'asking' });
try {
  const executable = { type: 'cached-download', version, downloadDir, ttl: '1 day' } as const;
  const environment = await TestWorkflowEnvironment.createLocal({ server: { executable } });
  await environment.teardown();
} catch (error) {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  await report({ state: 'failed', why: cause instanceof Error ? cause.message : String(cause) });
}
process.disconnect();
