import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { startWorkerService, workerVariables } from './service.ts';

await runService(async () => {
  const worker = await startWorkerService(readConfig(workerVariables));
  announceReady({ address: worker.queue });
  return worker.stop;
});
