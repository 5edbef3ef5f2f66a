import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { Watch } from './watch.ts';

test('what came while the process stood still is read before silence is judged', async () => {
  const server = createServer((socket) => socket.end('a sign')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const watch = new Watch(new AbortController().signal, 60_000);
  try {
    const socket = createConnection((server.address() as AddressInfo).port, '127.0.0.1');
    socket.on('data', () => watch.sign());
    await once(server, 'connection');
    watch.allowSilence(50);
    const until = performance.now() + 200;
    while (performance.now() < until);
    await once(socket, 'close');
    expect(watch.endedBy).toBeNull();
    await once(watch.signal, 'abort');
    expect(watch.endedBy).toBe('silence');
  } finally {
    watch.stop();
    server.close();
  }
});
