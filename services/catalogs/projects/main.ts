import { announceReady, runService } from '#platform/config/process.ts';
import { startProjects } from './service.ts';

await runService(async () => {
  const { address, stop } = await startProjects();
  announceReady({ address });
  return stop;
});
