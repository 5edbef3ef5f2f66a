import { join } from 'node:path';
import { createAnthropic } from '@ai-sdk/anthropic';
import { AiSdkPlugin } from '@temporalio/ai-sdk';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { AgentActivities, AgentInput } from './ai-sdk-workflows.ts';
import { servePeer } from './peer.ts';
import { setting, taskTable } from './task.ts';

const TASK_QUEUE = 'bench-ai-sdk';

/** The AI SDK's generateText in a Temporal workflow, model and tool calls as activities, on the benchmark's Temporal. */
await servePeer(async () => {
  const [address, namespace] = [setting('TEMPORAL_ADDRESS'), setting('TEMPORAL_NAMESPACE')];
  const apiKey = process.env.TEMPORAL_API_KEY;
  const options = { address, ...(apiKey ? { apiKey, tls: true } : {}) };
  Runtime.install({ shutdownSignals: [], telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } } });
  const tasks = taskTable();
  const activities: AgentActivities = { createTask: ({ run, call, task }) => tasks.create(run, call, task) };
  const anthropic = createAnthropic({ apiKey: 'any', baseURL: `${setting('ANTHROPIC_BASE_URL')}/v1` });
  const connection = await NativeConnection.connect(options);
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue: TASK_QUEUE,
    workflowsPath: join(import.meta.dirname, 'ai-sdk-workflows.ts'),
    activities,
    plugins: [new AiSdkPlugin({ modelProvider: anthropic })],
  });
  const running = worker.run();
  running.catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
  const clientConnection = await Connection.connect(options);
  const client = new Client({ connection: clientConnection, namespace });
  return {
    async play({ run, text, turns }) {
      const input: AgentInput = { run, text, turns };
      await client.workflow.execute('agent', { workflowId: `ai-sdk/${run}`, taskQueue: TASK_QUEUE, args: [input] });
    },
    async stop() {
      worker.shutdown();
      await running.catch(() => undefined);
      await clientConnection.close();
      await connection.close();
      await tasks.end();
    },
  };
});
