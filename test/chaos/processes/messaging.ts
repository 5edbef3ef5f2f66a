import './world.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { startMessaging } from '#services/catalogs/messaging/service.ts';
import { chaosParts } from './catalog.ts';

await runService(async () => {
  const { address, stop } = await startMessaging(process.env, chaosParts('messaging'));
  announceReady({ address });
  return stop;
});
