import { join } from 'node:path';
import { bundleWorkflowCode, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import pg from 'pg';
import { announceReady, runService } from '#platform/config/process.ts';
import { bareActivities } from './activities.ts';
import { BARE_TASK_QUEUE } from './loops.ts';

/** The worker of the loops that Steward is compared with: the SDK as it comes, with Steward's sticky cache. */
await runService(async () => {
  const { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace, TEMPORAL_API_KEY: apiKey } = process.env;
  const model = process.env.ANTHROPIC_BASE_URL;
  if (!address || !namespace || !model) {
    throw new Error('TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and ANTHROPIC_BASE_URL must be set.');
  }
  Runtime.install({ shutdownSignals: [], telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } } });
  const quiet = () => {};
  const logger = { log: quiet, trace: quiet, debug: quiet, info: quiet, warn: quiet, error: console.error };
  const { code } = await bundleWorkflowCode({ workflowsPath: join(import.meta.dirname, 'workflows.ts'), logger });
  const connection = await NativeConnection.connect({ address, ...(apiKey ? { apiKey, tls: true } : {}) });
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue: BARE_TASK_QUEUE,
    workflowBundle: { code },
    activities: bareActivities(pool, model),
    maxCachedWorkflows: 500,
  });
  const running = worker.run();
  running.catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
  announceReady({ address: BARE_TASK_QUEUE });
  return async () => {
    worker.shutdown();
    await running.catch(() => undefined);
    await connection.close();
    await pool.end();
  };
});
