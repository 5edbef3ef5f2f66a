import { join } from 'node:path';
import { runCommand } from './check-kit.ts';

// npm run generate: TypeScript from the contracts, into protos/gen.
const { status, stderr } = await runCommand(join(import.meta.dirname, '..'), 'buf', ['generate']);
process.stderr.write(stderr);
process.exitCode = status ?? 1;
