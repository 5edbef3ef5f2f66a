import type { JsonValue } from '#domain/json.ts';
import type { Change, FieldChange } from '#gen/steward/common/v1/change_pb.ts';
import { namedValueLines, shortJson } from './json-value.ts';
import type { Colour, Look } from './look.ts';
import { displayWidth, oneLine, visible } from './text.ts';

export interface ChangeOptions {
  readonly indent?: string;
  /** Values whole, over several lines where need be; else each is one line, cut to the width. */
  readonly whole?: boolean;
  /** Leaves the summary line out. */
  readonly fieldsOnly?: boolean;
}

/**
 * A change as a diff: its summary, then by record the old value of each field behind `-` and the new one behind `+`,
 * then what it spends.
 */
export function changeLines(change: Change, look: Look, options: ChangeOptions = {}): readonly string[] {
  const indent = options.indent ?? '';
  const records = [...new Set(change.fields.map((field) => field.record))];
  const lines = records.flatMap((record) => [
    `${indent}${look.paint.bold(visible(record))}`,
    ...change.fields.filter((field) => field.record === record).flatMap((field) => fieldLines(field, look, options)),
  ]);
  const summary = options.fieldsOnly === true || change.summary === '' ? [] : [`${indent}${oneLine(change.summary)}`];
  return [...summary, ...lines, ...quantityLines(change, look, indent)];
}

function fieldLines(field: FieldChange, look: Look, options: ChangeOptions): readonly string[] {
  return [
    ...sideLines('-', 'red', field.field, field.beforeJson, look, options),
    ...sideLines('+', 'green', field.field, field.afterJson, look, options),
  ];
}

function sideLines(
  sign: string,
  colour: Colour,
  name: string,
  json: string,
  look: Look,
  options: ChangeOptions,
): readonly string[] {
  if (json === '') return [];
  const indent = `${options.indent ?? ''}  `;
  const room = { ...look, width: look.width - indent.length - 2 };
  const lines = options.whole === true ? wholeLines(name, json, room) : [cutLine(name, json, room)];
  return lines.map((line) => `${indent}${look.paint[colour](`${sign} ${line}`)}`);
}

function wholeLines(name: string, json: string, look: Look): readonly string[] {
  let value: JsonValue;
  try {
    value = JSON.parse(json) as JsonValue;
  } catch {
    value = json;
  }
  return namedValueLines(name, value, look, '');
}

function cutLine(name: string, json: string, look: Look): string {
  const label = `${visible(name)}: `;
  return label + shortJson(json, look.width - displayWidth(label));
}

function quantityLines(change: Change, look: Look, indent: string): readonly string[] {
  const parts = Object.entries(change.quantities)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, amount]) => `${visible(name)} ${amount}`);
  return parts.length === 0 ? [] : [`${indent}${look.paint.dim('spends')} ${parts.join(', ')}`];
}
