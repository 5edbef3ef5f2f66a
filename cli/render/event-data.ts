import type { JsonObject } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { type Change, ChangeSchema } from '#gen/steward/common/v1/change_pb.ts';

/** Reads the data of an event, which came over a wire: a field that is missing or of another type reads as empty. */
export class EventReader {
  readonly #data: JsonObject;

  constructor(data: JsonObject | undefined) {
    this.#data = data ?? {};
  }

  text(name: string): string {
    const value = this.#data[name];
    return typeof value === 'string' ? value : '';
  }

  number(name: string): number {
    const value = this.#data[name];
    return typeof value === 'number' && Number.isFinite(value) ? value : 0;
  }

  flag(name: string): boolean {
    return this.#data[name] === true;
  }

  texts(name: string): readonly string[] {
    const value = this.#data[name];
    return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
  }

  numbers(name: string): readonly number[] {
    const value = this.#data[name];
    return Array.isArray(value) ? value.filter((one) => typeof one === 'number') : [];
  }

  objects(name: string): readonly EventReader[] {
    const value = this.#data[name];
    return Array.isArray(value) ? value.filter(isObject).map((one) => new EventReader(one)) : [];
  }

  /** A `Change` of domain/tools.ts in its message form; null where there is none. */
  change(name: string): Change | null {
    const value = this.#data[name];
    if (!isObject(value)) return null;
    const reader = new EventReader(value);
    const fields = Array.isArray(value.fields) ? value.fields.filter(isObject) : [];
    const quantities = isObject(value.quantities) ? value.quantities : {};
    return create(ChangeSchema, {
      summary: reader.text('summary'),
      fields: fields.map((field) => ({
        record: new EventReader(field).text('record'),
        field: new EventReader(field).text('field'),
        beforeJson: side(field.before),
        afterJson: side(field.after),
      })),
      quantities: Object.fromEntries(
        Object.entries(quantities)
          .filter(([, amount]) => Number.isSafeInteger(amount))
          .map(([unit, amount]) => [unit, BigInt(amount as number)]),
      ),
    });
  }

  get json(): string {
    return JSON.stringify(this.#data);
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function side(value: unknown): string {
  return value === undefined ? '' : JSON.stringify(value);
}
