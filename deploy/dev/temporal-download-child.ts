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
  // The message is a chain of causes, the telling ones last.
  const chain = (error instanceof Error ? error.message : String(error)).split(': ');
  await report({ state: 'failed', why: chain.slice(-2).join(': ') });
}
process.disconnect();
