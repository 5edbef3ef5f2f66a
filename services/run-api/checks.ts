import { type Timestamp, timestampDate } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';

/** A run's id, as run-api makes them. */
const RUN_ID = /^[0-9a-zA-Z_-]{8,64}$/;
const MOST_SAID = 20;

/** Collects everything that is wrong with a request, so that its sender mends it in one go. */
export class Checks {
  readonly #faults: { readonly field: string; readonly message: string }[] = [];

  /** Notes a fault where `ok` is false. */
  that(ok: boolean, field: string, message: string): void {
    if (!ok) this.#faults.push({ field, message });
  }

  /** A text of `min` to `max` characters. NUL characters are refused everywhere: Postgres has none. */
  text(field: string, value: string, limits: { readonly min?: number; readonly max: number }): void {
    const { min = 0, max } = limits;
    if (min > 0 && value === '') this.that(false, field, 'is needed');
    else this.that(value.length >= min && value.length <= max, field, `must have at most ${max} characters`);
    this.that(!value.includes('\0') && value.isWellFormed(), field, 'must not contain NUL characters');
  }

  /** One line of text: no control characters. */
  line(field: string, value: string, limits: { readonly min?: number; readonly max: number }): void {
    this.text(field, value, limits);
    this.that(/^\P{Cc}*$/u.test(value), field, 'must be one line without control characters');
  }

  runId(value: string, field = 'run_id'): void {
    this.that(RUN_ID.test(value), field, 'must be the id of a run');
  }

  /** A moment; undefined where there is none, or where it is out of range, which is a fault. */
  time(field: string, value: Timestamp | undefined): Date | undefined {
    if (value === undefined) return undefined;
    const time = timestampDate(value);
    const fine = !Number.isNaN(time.getTime()) && Math.abs(time.getUTCFullYear() - 2000) < 5_000;
    this.that(fine, field, 'must be a time');
    return fine ? time : undefined;
  }

  /** A page size of 1 to `max`, 0 standing for `normal`. */
  pageSize(value: number, normal: number, max: number): number {
    this.that(value >= 0 && value <= max, 'page_size', `must be 1 to ${max}, or 0 for ${normal}`);
    return value === 0 ? normal : value;
  }

  /** Throws INVALID_REQUEST with all faults, or returns. */
  done(): void {
    if (this.#faults.length === 0) return;
    const said = this.#faults.slice(0, MOST_SAID).map(({ field, message }) => `${field} ${message}`);
    const count = this.#faults.length === 1 ? 'one fault' : `${this.#faults.length} faults`;
    throw new StewardError('INVALID_REQUEST', `The request has ${count}: ${said.join('; ')}.`, {
      details: { field: this.#faults[0]?.field, faults: said },
    });
  }
}
