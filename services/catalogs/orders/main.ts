import { announceReady, runService } from '#platform/config/process.ts';
import { startOrders } from './service.ts';

await runService(async () => {
  const { address, stop } = await startOrders();
  announceReady({ address });
  return stop;
});
