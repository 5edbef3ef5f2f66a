import type { Script } from '../script.ts';
import { closeOutRelease } from './close-out-release.ts';
import { faultScripts } from './faults.ts';
import { plainScripts } from './plain.ts';

/** The scripts every offline model knows. */
export const builtInScripts: readonly Script[] = [closeOutRelease, ...plainScripts, ...faultScripts];
