import './world.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { startOrders } from '#services/catalogs/orders/service.ts';
import { chaosParts } from './catalog.ts';

await runService(async () => {
  const { address, stop } = await startOrders(process.env, chaosParts('orders'));
  announceReady({ address });
  return stop;
});
