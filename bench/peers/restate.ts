import * as restate from '@restatedev/restate-sdk';
import { agentLoop } from './loop.ts';
import { type PlayInput, servePeer } from './peer.ts';
import { setting } from './task.ts';

const SERVICE = 'agent';

/** A Restate service, its steps in the journal of the Restate server that the benchmark has started. */
await servePeer(async () => {
  const [admin, ingress] = [setting('RESTATE_ADMIN'), setting('RESTATE_INGRESS')];
  const loop = agentLoop();
  const agent = restate.service({
    name: SERVICE,
    handlers: {
      run: async (ctx: restate.Context, input: PlayInput) => {
        await loop.run(input, (name, work) => ctx.run(name, work) as ReturnType<typeof work>);
      },
    },
  });
  const port = await restate.serve({ services: [agent], port: 0 });
  const registered = await post(`${admin}/deployments`, { uri: `http://127.0.0.1:${port}` });
  if (!registered.ok) throw new Error(`Restate does not take the service: ${await registered.text()}`);
  return {
    async play(input) {
      const response = await post(`${ingress}/${SERVICE}/run`, input);
      if (!response.ok) throw new Error(`Restate answers ${response.status}: ${await response.text()}`);
      await response.arrayBuffer();
    },
    stop: () => loop.end(),
  };
});

function post(url: string, body: object): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(300_000),
  });
}
