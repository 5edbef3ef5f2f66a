import './world.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { guardVariables, startGuard } from '#services/guard/start.ts';
import { Probe } from '../probe.ts';
import { countedCalls } from './around.ts';

await runService(async () => {
  const probe = new Probe('guard');
  const counted = new Set(['judge', 'authorize', 'confirmDecision', 'decide', 'decideAndWait']);
  const points = {
    judge: 'after-judge',
    authorize: 'after-authorize',
    decide: 'after-decide',
    decideAndWait: 'after-decide',
  };
  const guard = await startGuard(readConfig(guardVariables), { service: countedCalls(probe, counted, points) });
  announceReady({ address: guard.address });
  return guard.stop;
});
