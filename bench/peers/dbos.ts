import { DBOS } from '@dbos-inc/dbos-sdk';
import { agentLoop } from './loop.ts';
import { type PlayInput, servePeer } from './peer.ts';
import { setting } from './task.ts';

/** A DBOS workflow, its steps in Postgres. */
await servePeer(async () => {
  const loop = agentLoop();
  const agent = DBOS.registerWorkflow(
    (input: PlayInput) => loop.run(input, (name, work) => DBOS.runStep(work, { name })),
    { name: 'agent' },
  );
  DBOS.setConfig({
    name: 'bench-peers',
    applicationVersion: '0.1.0',
    systemDatabaseUrl: setting('DATABASE_URL'),
    logLevel: 'warn',
  });
  await DBOS.launch();
  return {
    async play(input) {
      const handle = await DBOS.startWorkflow(agent, { workflowID: input.run })(input);
      await handle.getResult();
    },
    async stop() {
      await DBOS.shutdown();
      await loop.end();
    },
  };
});
