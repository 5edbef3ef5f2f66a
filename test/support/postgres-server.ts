/**
 * Entry of a process that keeps one throwaway Postgres for a process of tests: started in a new directory, stopped and
 * removed when the tests' end of stdin closes, whatever they died of. Its argument is a file to remove then as well.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { preparePaths, resolvePaths } from '#deploy/dev/paths.ts';
import { startPostgres } from '#deploy/dev/postgres.ts';

const home = await mkdtemp(join(tmpdir(), 'steward-test-postgres-'));
const closed = new Promise<void>((done) => {
  process.stdin.once('close', done).once('error', () => done());
  process.stdin.resume();
});
try {
  const paths = await resolvePaths({ ...process.env, STEWARD_HOME: home });
  await preparePaths(paths);
  const postgres = await startPostgres({ paths, env: { STEWARD_POSTGRES_PORT: '0' } });
  process.stdout.write(`STEWARD_READY ${JSON.stringify({ url: postgres.url })}\n`);
  await Promise.race([closed, postgres.exited]);
  await postgres.stop();
} finally {
  await rm(home, { recursive: true, force: true });
  await rm(process.argv[2] as string, { force: true });
}
