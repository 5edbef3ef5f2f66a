import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { runApiVariables, startRunApi } from './start.ts';

await runService(async () => {
  const runApi = await startRunApi(readConfig(runApiVariables));
  announceReady({ address: runApi.address });
  return runApi.stop;
});
