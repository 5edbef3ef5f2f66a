import { createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { assertPortFree, freePort, portOf } from './ports.ts';

const spec = { what: 'the test', variable: 'STEWARD_TEST_PORT', fallback: 7233 };

test('a taken port is named with what wanted it and the variable that changes it', async () => {
  const port = await freePort();
  await assertPortFree(port, spec);
  const server = createServer();
  await new Promise<void>((done) => server.listen(port, '0.0.0.0', done));
  try {
    const refusal = assertPortFree(port, spec);
    await expect(refusal).rejects.toMatchObject({ code: 'WRONG_STATE', details: { port } });
    await expect(refusal).rejects.toThrow(new RegExp(`Port ${port}, wanted for the test.*STEWARD_TEST_PORT`));
  } finally {
    await new Promise((done) => server.close(done));
  }
});

test('a port comes from its variable, else from its default and the common offset', async () => {
  expect(await portOf(spec, {})).toBe(7233);
  expect(await portOf(spec, { STEWARD_PORT_OFFSET: '100' })).toBe(7333);
  expect(await portOf(spec, { STEWARD_PORT_OFFSET: '100', STEWARD_TEST_PORT: '9' })).toBe(9);
  expect(await portOf(spec, { STEWARD_TEST_PORT: '0' })).toBeGreaterThan(0);
  await expect(portOf(spec, { STEWARD_TEST_PORT: '70000' })).rejects.toThrow(/STEWARD_TEST_PORT must be a number/);
  await expect(portOf(spec, { STEWARD_PORT_OFFSET: '60000' })).rejects.toThrow(/STEWARD_PORT_OFFSET/);
});
