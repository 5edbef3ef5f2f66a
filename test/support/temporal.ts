import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { preparePaths, resolvePaths } from '#deploy/dev/paths.ts';
import { type RunningTemporal, startTemporal } from '#deploy/dev/temporal.ts';
import { findTemporal } from '#deploy/dev/temporal-binary.ts';
import { readTemporalDev } from '#deploy/dev/temporal-config.ts';

/** A real Temporal of one test file, as temporal-dev.yml describes it, on free ports and without a past. */
export async function testTemporal(): Promise<RunningTemporal> {
  const home = await mkdtemp(join(tmpdir(), 'steward-test-temporal-'));
  const env = { ...process.env, STEWARD_HOME: home, STEWARD_TEMPORAL_PORT: '0', STEWARD_TEMPORAL_UI_PORT: '0' };
  const paths = await resolvePaths(env);
  await preparePaths(paths);
  const dev = await readTemporalDev();
  const source = await findTemporal({ paths, dev, env });
  if (source.kind === 'external') throw new Error('These tests start their own Temporal; unset TEMPORAL_ADDRESS.');
  const temporal = await startTemporal({ paths, dev, source, env });
  return {
    ...temporal,
    stop: async () => {
      await temporal.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}
