/** Brings the embedded default up and keeps it up until SIGINT or SIGTERM: `steward dev up`. */

import { isStewardError } from '#domain/errors.ts';
import { resolvePaths } from './paths.ts';
import { seedDemo } from './seed.ts';
import { startStack } from './stack.ts';

const stop = new AbortController();
process.on('SIGINT', () => stop.abort()).on('SIGTERM', () => stop.abort());
const tell = (line: string) => process.stderr.write(`${line}\n`);

try {
  const stack = await startStack({ paths: await resolvePaths(), onProgress: tell, signal: stop.signal });
  await seedDemo(stack);
  process.stdout.write(`STEWARD_READY ${JSON.stringify(stack.environment)}\n`);
  const lost = await Promise.race([
    stack.lost,
    new Promise<null>((done) => stop.signal.addEventListener('abort', () => done(null), { once: true })),
  ]);
  if (lost !== null) tell(`${lost} has ended by itself; its log is in the data directory. Stopping.`);
  await stack.stop();
  process.exit(lost === null ? 0 : 1);
} catch (error) {
  if (!stop.signal.aborted) tell(isStewardError(error) ? error.message : String((error as Error).stack ?? error));
  process.exit(stop.signal.aborted ? 130 : 1);
}
