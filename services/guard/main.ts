import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { guardVariables, startGuard } from './start.ts';

await runService(async () => {
  const guard = await startGuard(readConfig(guardVariables));
  announceReady({ address: guard.address });
  return guard.stop;
});
