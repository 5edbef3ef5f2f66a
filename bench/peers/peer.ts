import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One run that the benchmark asks for. */
export interface PlayInput {
  readonly run: string;
  /** What the user says; names the offline model's script and how many turns there are. */
  readonly text: string;
  readonly turns: number;
}

/** What a peer has to offer. */
export interface Peer {
  /** Plays a run to its end. */
  play(input: PlayInput): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Serves a peer on a free port of this machine: `POST /` with a PlayInput answers when the run has ended. Prints the
 * line the benchmark waits for, and ends at SIGTERM.
 */
export async function servePeer(start: () => Promise<Peer>): Promise<void> {
  const told = new Promise<void>((done) => process.once('SIGTERM', () => done()).once('SIGINT', () => done()));
  const peer = await start();
  const server = createServer((request, response) => void answer(peer, request, response));
  // A run may take minutes, and the benchmark has its own limit.
  server.requestTimeout = 0;
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`STEWARD_READY ${JSON.stringify({ address: `http://127.0.0.1:${port}` })}\n`);
  await told;
  server.closeAllConnections();
  await peer.stop();
  process.exit(0);
}

async function answer(peer: Peer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    await peer.play(JSON.parse(Buffer.concat(parts).toString('utf8')) as PlayInput);
    response.writeHead(204).end();
  } catch (error) {
    console.error(error);
    response.writeHead(500).end(error instanceof Error ? error.message : String(error));
  }
}
