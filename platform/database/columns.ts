import type { ColumnType } from 'kysely';

/** A json or jsonb column: written as JSON text, read as its value. */
export type Json<T> = ColumnType<T, string, string>;
export type JsonOrNull<T> = ColumnType<T | null, string | null | undefined, string | null>;
export type At = ColumnType<Date, Date | undefined, Date>;
export type AtOrNull = ColumnType<Date | null, Date | null | undefined, Date | null>;
export type OrNull<T> = ColumnType<T | null, T | null | undefined, T | null>;
