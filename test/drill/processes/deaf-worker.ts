/** A worker with a defect, for `--sabotage push`: it is not told of stops, and does not look. Only the drill starts it. */

import { NO_PUSH } from '#activities/run-context.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { startWorkerService, workerVariables } from '#services/worker/service.ts';

await runService(async () => {
  const worker = await startWorkerService(readConfig(workerVariables), { push: () => NO_PUSH });
  announceReady({ address: worker.queue });
  return worker.stop;
});
