import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

async function run(
  env: Record<string, string>,
  until: RegExp,
): Promise<{ output: string; exit: Promise<unknown>; stop: () => Promise<unknown> }> {
  const child = spawn(process.execPath, [MAIN], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = once(child, 'exit').then(([code]) => code as unknown);
  let output = '';
  const enough = new Promise<void>((resolve) => {
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
      if (until.test(output)) resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
  });
  await Promise.race([enough, exit]);
  const stop = (): Promise<unknown> => {
    child.kill('SIGTERM');
    return exit;
  };
  return { output, exit, stop };
}

test('says where it serves, answers, and stops on SIGTERM while an answer is under way', async () => {
  const { output, stop } = await run({ OFFLINE_MODEL_DELAY_MS: '60000' }, /\n/);
  const { address } = JSON.parse(/^STEWARD_READY (.*)$/m.exec(output)?.[1] ?? '{}') as { address: string };
  expect(await (await fetch(`${address}/health`)).json()).toEqual({ status: 'serving' });
  const answer = await fetch(`${address}/v1/messages`, {
    method: 'POST',
    headers: { 'x-api-key': 'any', 'anthropic-version': '2023-06-01' },
    body: JSON.stringify({
      model: 'offline-1',
      max_tokens: 10,
      stream: true,
      metadata: { user_id: 'run-1' },
      messages: [{ role: 'user', content: 'script: echo' }],
    }),
  });
  expect(answer.status).toBe(200);
  const { requests } = (await (await fetch(`${address}/requests?user=run-1`)).json()) as { requests: unknown[] };
  expect(requests).toEqual([expect.objectContaining({ userId: 'run-1', script: 'echo', outcome: 'open' })]);
  expect(await stop()).toBe(0);
  await expect(answer.text()).rejects.toThrow();
});

test.each([
  [{ STEWARD_LISTEN: 'here' }, /STEWARD_LISTEN must be host:port/],
  [{ OFFLINE_MODEL_DELAY_MS: 'soon' }, /OFFLINE_MODEL_DELAY_MS must be/],
  [{ OFFLINE_MODEL_SCRIPTS: '/no/such/folder' }, /there are no scripts at \/no\/such\/folder/],
])('%j is refused with what is wrong', async (env, expected) => {
  const { output, exit } = await run(env, expected);
  expect(output).toMatch(expected);
  expect(await exit).toBe(1);
});
