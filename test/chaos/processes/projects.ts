import './world.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { startProjects } from '#services/catalogs/projects/service.ts';
import { chaosParts } from './catalog.ts';

await runService(async () => {
  const { address, stop } = await startProjects(process.env, chaosParts('projects'));
  announceReady({ address });
  return stop;
});
