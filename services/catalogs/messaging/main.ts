import { announceReady, runService } from '#platform/config/process.ts';
import { startMessaging } from './service.ts';

await runService(async () => {
  const { address, stop } = await startMessaging();
  announceReady({ address });
  return stop;
});
