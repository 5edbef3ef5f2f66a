import './world.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { runApiVariables, startRunApi } from '#services/run-api/start.ts';
import { Probe } from '../probe.ts';
import { countedCalls } from './around.ts';

await runService(async () => {
  const probe = new Probe('run-api');
  const runApi = await startRunApi(readConfig(runApiVariables), {
    service: countedCalls(probe, new Set(['startRun']), { startRun: 'before-answer' }),
    deliveries: (deliveries) => ({
      ...deliveries,
      send: async (tenant, ids) => {
        if (ids.length > 0) probe.dieAt('before-start', ids.join());
        await deliveries.send(tenant, ids);
      },
    }),
  });
  announceReady({ address: runApi.address });
  return runApi.stop;
});
