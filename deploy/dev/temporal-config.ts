/** `temporal-dev.yml`, read: the one description of the development Temporal. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { StewardError } from '#domain/errors.ts';
import { REPOSITORY } from './paths.ts';
import { LOOPBACK, type PortSpec } from './ports.ts';

const MS_PER_DAY = 86_400_000;

const SEARCH_ATTRIBUTE_TYPES = ['Text', 'Keyword', 'Int', 'Double', 'Bool', 'Datetime', 'KeywordList'] as const;

const port = z.int().min(1).max(65_535);

const TemporalDev = z.strictObject({
  /** Version of the Temporal CLI, which carries the server and its Web UI. */
  cli: z.string().regex(/^\d+\.\d+\.\d+$/),
  /** Version of the server in it; an older one found on the machine is not used. */
  server: z.string().regex(/^\d+\.\d+\.\d+$/),
  ports: z.strictObject({ grpc: port, ui: port }),
  namespace: z.string().min(1),
  /** How long closed workflows are kept, in days. */
  retention: z.templateLiteral([z.int(), ' days']).transform((text) => Number.parseInt(text, 10)),
  searchAttributes: z.record(z.string().min(1), z.enum(SEARCH_ATTRIBUTE_TYPES)),
  dynamicConfig: z.record(z.string().min(1), z.union([z.number(), z.boolean(), z.string()])),
});

/** The `x-steward` part of `temporal-dev.yml`; `retention` in days. */
export type TemporalDev = z.infer<typeof TemporalDev>;

/** Types a search attribute may have. */
export type SearchAttributeType = (typeof SEARCH_ATTRIBUTE_TYPES)[number];

/**
 * Reads the description.
 *
 * @throws StewardError INVALID_REQUEST naming what is wrong in the file.
 */
export async function readTemporalDev(file: string = join(REPOSITORY, 'temporal-dev.yml')): Promise<TemporalDev> {
  const document = parse(await readFile(file, 'utf8')) as Record<string, unknown> | null;
  const result = TemporalDev.safeParse(document?.['x-steward']);
  if (result.success) return result.data;
  throw new StewardError('INVALID_REQUEST', `${file}, x-steward:\n${z.prettifyError(result.error)}`);
}

/** Where the server listens, and the variables that change it. */
export function temporalPorts(dev: TemporalDev): { readonly grpc: PortSpec; readonly ui: PortSpec } {
  return {
    grpc: { what: 'the Temporal server', variable: 'STEWARD_TEMPORAL_PORT', fallback: dev.ports.grpc },
    ui: { what: 'the Temporal Web UI', variable: 'STEWARD_TEMPORAL_UI_PORT', fallback: dev.ports.ui },
  };
}

/** What differs between two ways to run the same server. */
export interface ServerPlace {
  readonly ip?: string;
  readonly grpc: number;
  readonly ui: number;
  readonly database: string;
}

/** The arguments of the `temporal` program that the description comes to. */
export function serverArguments(dev: TemporalDev, place: ServerPlace): string[] {
  return [
    'server',
    'start-dev',
    `--ip=${place.ip ?? LOOPBACK}`,
    `--port=${place.grpc}`,
    `--ui-port=${place.ui}`,
    `--db-filename=${place.database}`,
    `--namespace=${dev.namespace}`,
    ...Object.entries(dev.searchAttributes).map(([name, type]) => `--search-attribute=${name}=${type}`),
    ...Object.entries(dev.dynamicConfig).map(
      ([name, value]) => `--dynamic-config-value=${name}=${JSON.stringify(value)}`,
    ),
  ];
}

/** How long closed workflows are kept, in milliseconds. */
export function retentionMs(dev: TemporalDev): number {
  return dev.retention * MS_PER_DAY;
}
