/** Ports of the embedded default: where they come from, and a clear word when one is taken. */

import { randomInt } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { StewardError } from '#domain/errors.ts';

/** Every server of the embedded default listens here and nowhere else. */
export const LOOPBACK = '127.0.0.1';

const MAX_PORT = 65_535;
const CONNECT_MS = 1_000;

/** Shifts every port that is not set on its own, so that two clones can run side by side. */
export const OFFSET_VARIABLE = 'STEWARD_PORT_OFFSET';

/** One port: what wants it, and the variable that changes it. */
export interface PortSpec {
  /** For people: `the Temporal Web UI`. */
  readonly what: string;
  readonly variable: string;
  readonly fallback: number;
}

/**
 * The port for a spec: its variable, else its default plus STEWARD_PORT_OFFSET. 0 asks for any free port.
 *
 * @throws StewardError INVALID_REQUEST when a variable is not a port number.
 */
export async function portOf(
  spec: PortSpec,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<number> {
  const own = env[spec.variable];
  if (own !== undefined && own !== '') {
    const port = wholeNumber(spec.variable, own);
    return port === 0 ? await freePort() : port;
  }
  const offset = env[OFFSET_VARIABLE];
  if (offset === undefined || offset === '') return spec.fallback;
  return wholeNumber(OFFSET_VARIABLE, offset, MAX_PORT - spec.fallback) + spec.fallback;
}

/**
 * Makes sure that nothing listens on a loopback port.
 *
 * @throws StewardError WRONG_STATE naming the port, what wanted it and the variable that changes it.
 */
export async function assertPortFree(port: number, spec: Pick<PortSpec, 'what' | 'variable'>): Promise<void> {
  const problem = (await bindProblem(port)) ?? ((await answers(port)) ? 'is taken by another program' : undefined);
  if (problem === undefined) return;
  throw new StewardError(
    'WRONG_STATE',
    `Port ${port}, wanted for ${spec.what}, ${problem}. Stop that program, or set ${spec.variable} to another port ` +
      `(${OFFSET_VARIABLE}=100 moves all of Steward's ports at once).`,
    { details: { port, variable: spec.variable } },
  );
}

/** Below the range that systems give to outgoing connections, which would take a port between its choice and its use. */
const [LOWEST, HIGHEST] = [15_000, 32_000];
const TRIES = 200;
const handedOut = new Set<number>();

/** A loopback port that was free a moment ago, and that no other call in this process was given. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < TRIES; tried += 1) {
    const port = randomInt(LOWEST, HIGHEST);
    if (handedOut.has(port)) continue;
    handedOut.add(port);
    if ((await bindProblem(port)) === undefined) return port;
  }
  throw new StewardError('UNAVAILABLE', `No free port was found between ${LOWEST} and ${HIGHEST}.`);
}

function bindProblem(port: number): Promise<string | undefined> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') done('is taken by another program');
      else if (error.code === 'EACCES') done('may not be used by this account');
      else done(`cannot be used (${error.code ?? error.message})`);
    });
    server.listen(port, LOOPBACK, () => server.close(() => done(undefined)));
  });
}

/** Some systems let a loopback port be bound beside one that listens on every address. */
function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ port, host: LOOPBACK, timeout: CONNECT_MS });
    const finish = (listening: boolean) => {
      socket.destroy();
      done(listening);
    };
    socket.once('connect', () => finish(socket.localPort !== socket.remotePort));
    socket.once('timeout', () => finish(false));
    socket.once('error', () => finish(false));
  });
}

function wholeNumber(variable: string, text: string, most = MAX_PORT): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > most) {
    throw new StewardError('INVALID_REQUEST', `${variable} must be a number from 0 to ${most}, not "${text}".`);
  }
  return value;
}
