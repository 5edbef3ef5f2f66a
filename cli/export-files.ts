import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { DescMessage, JsonObject, JsonValue, MessageShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import {
  type ExportRunsResponse,
  ModelCostSchema,
  RunSchema,
  RunStepSchema,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { documentText, toDocument } from './document.ts';

/** What an export consists of. */
export const EXPORT_KINDS = ['run', 'step', 'cost'] as const;
export type ExportKind = (typeof EXPORT_KINDS)[number];
export type ExportFormat = 'jsonl' | 'csv';

/** Where an export goes. Nothing stands under its final name before `finish`. */
export interface ExportSink {
  /** Waits where the reader is slower than the export. */
  write(item: ExportRunsResponse['item']): Promise<void>;
  /** Puts the files in place; returns their paths. */
  finish(): Promise<readonly string[]>;
  /** Removes what was written. */
  discard(): Promise<void>;
}

const SCHEMAS: Readonly<Record<ExportKind, DescMessage>> = {
  run: RunSchema,
  step: RunStepSchema,
  cost: ModelCostSchema,
};
/** What a spreadsheet would take for a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * Opens where an export goes: `-` is standard output; JSON Lines go to one file, CSV to a folder with a file for each of
 * `kinds`. Throws INVALID_REQUEST for CSV of several kinds on standard output.
 */
export async function openExport(out: string, format: ExportFormat, kinds: readonly ExportKind[]): Promise<ExportSink> {
  if (format === 'csv' && out === '-' && kinds.length > 1) {
    throw new StewardError('INVALID_REQUEST', 'CSV of steps or costs beside runs needs a folder: --out <folder>.');
  }
  const files = new Map<ExportKind, OpenFile>();
  if (format === 'jsonl') {
    const file = out === '-' ? standardOutput() : await openFile(out);
    for (const kind of kinds) files.set(kind, file);
  } else {
    for (const kind of kinds) {
      const file = out === '-' ? standardOutput() : await openFile(join(out, `${kind}s.csv`));
      files.set(kind, file);
      await file.write(`${columnsOf(SCHEMAS[kind]).join(',')}\n`);
    }
  }
  const all = [...new Set(files.values())];
  return {
    async write({ case: kind, value }) {
      if (kind === undefined) return;
      const schema = SCHEMAS[kind];
      const document = toDocument(schema, value as MessageShape<DescMessage>) as JsonObject;
      const text = format === 'jsonl' ? documentText({ kind, [kind]: document }, 'line') : csvLine(schema, document);
      await files.get(kind)?.write(`${text}\n`);
    },
    finish: async () => (await Promise.all(all.map((file) => file.finish()))).filter((path) => path !== null),
    discard: async () => void (await Promise.all(all.map((file) => file.discard()))),
  };
}

interface OpenFile {
  write(text: string): Promise<void>;
  finish(): Promise<string | null>;
  discard(): Promise<void>;
}

async function openFile(path: string): Promise<OpenFile> {
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.${randomUUID().slice(0, 8)}.part`;
  const stream: WriteStream = createWriteStream(draft, { flags: 'wx', mode: 0o600 });
  await once(stream, 'open');
  const end = async () => {
    stream.end();
    await finished(stream);
  };
  return {
    async write(text) {
      if (!stream.write(text)) await once(stream, 'drain');
    },
    async finish() {
      await end();
      await rename(draft, path);
      return path;
    },
    async discard() {
      await end().catch(() => undefined);
      await rm(draft, { force: true });
    },
  };
}

function standardOutput(): OpenFile {
  return {
    async write(text) {
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
    },
    finish: async () => null,
    discard: async () => undefined,
  };
}

/** A message's fields as columns; a message within it gives its own, `cost.settledMicroUsd`. */
function columnsOf(schema: DescMessage, prefix = ''): readonly string[] {
  return schema.fields.flatMap((field) =>
    isNested(field) ? columnsOf(field.message, `${prefix}${field.jsonName}.`) : [`${prefix}${field.jsonName}`],
  );
}

type Field = DescMessage['fields'][number];

function isNested(field: Field): field is Field & { readonly message: DescMessage } {
  return field.fieldKind === 'message' && !field.message.typeName.startsWith('google.protobuf.');
}

function csvLine(schema: DescMessage, document: JsonObject): string {
  return columnsOf(schema)
    .map((column) => {
      const value = column
        .split('.')
        .reduce<JsonValue | undefined>((at, part) => (at as JsonObject | undefined)?.[part], document);
      return cell(value);
    })
    .join(',');
}

/** One cell: quoted where it must be, and never a formula. */
export function cell(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return '';
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  const safe = typeof value === 'string' && FORMULA.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
