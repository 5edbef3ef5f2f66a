import { join } from 'node:path';
import { BASELINE } from './check-generated.ts';
import { runCommand } from './check-kit.ts';

// npm run baseline: takes the contracts as they are now for released. From then on `buf breaking` holds them.
const { status, stderr } = await runCommand(join(import.meta.dirname, '..'), 'buf', ['build', '--output', BASELINE]);
process.stderr.write(stderr);
process.exitCode = status ?? 1;
