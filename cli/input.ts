import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { StewardError } from '#domain/errors.ts';
import type { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import type { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { parseDollars } from './render/money.ts';
import { APPROVAL_STATE_NAMES, parseApprovalState, parseStatus, STATUS_NAMES } from './render/status.ts';
import { parseDuration } from './render/time.ts';

const MOST_INPUT_BYTES = 1_048_576;

/** Option parser: an amount of money, as micro-USD. */
export function money(text: string): bigint {
  const micro = parseDollars(text);
  if (micro === null || micro === 0n) {
    throw new InvalidArgumentError(
      "Write an amount of dollars above nothing, as in 0.20 or '$0.20': a shell takes an unquoted $ for its own.",
    );
  }
  return micro;
}

/** Option parser: a span of time, as milliseconds. */
export function span(text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw new InvalidArgumentError('Write a span of time, as in 500ms, 30s, 15m, 2h, 7d or 1h30m.');
  return ms;
}

/** Option parser: a moment, as a span before now or as a date. */
export function moment(text: string): Date {
  const ms = parseDuration(text);
  if (ms !== null) return new Date(Date.now() - ms);
  const at = /^\d{4}-\d{2}-\d{2}/.test(text) ? new Date(text) : new Date(Number.NaN);
  if (Number.isNaN(at.getTime())) {
    throw new InvalidArgumentError('Write a span before now, as in 2h or 7d, or a date, as in 2026-11-20T08:00.');
  }
  return at;
}

/** Option parser: a whole number within bounds. */
export function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`Write a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** Option parser: gathers the values of an option that may be repeated. */
export function gather(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Option parser: gathers `key=value` pairs. A key given twice is an error. */
export function pairs(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('Write key=value.');
  const key = text.slice(0, at);
  if (Object.hasOwn(before, key)) throw new InvalidArgumentError(`The key ${key} is given twice.`);
  return { ...before, [key]: text.slice(at + 1) };
}

/** Option parser: run statuses, repeated or separated by commas. */
export function statuses(text: string, before: readonly RunStatus[] = []): readonly RunStatus[] {
  const found = text.split(',').map((name) => {
    const status = parseStatus(name);
    if (status === null) throw new InvalidArgumentError(`Write some of ${STATUS_NAMES.join(', ')}.`);
    return status;
  });
  return [...before, ...found];
}

/** Option parser: the state of an approval. */
export function approvalState(text: string): ApprovalState {
  const state = parseApprovalState(text);
  if (state === null) throw new InvalidArgumentError(`Write one of ${APPROVAL_STATE_NAMES.join(', ')}.`);
  return state;
}

/** The text of a file, or of standard input where the path is `-`. Throws INVALID_REQUEST: unreadable, over 1 MiB. */
export async function readText(path: string): Promise<string> {
  try {
    const bytes = path === '-' ? await readStandardInput() : await readFile(path);
    if (bytes.length > MOST_INPUT_BYTES) throw new Error('it is larger than 1 MiB');
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new StewardError('INVALID_REQUEST', `Cannot read ${path === '-' ? 'standard input' : path}: ${why}.`, {
      cause,
    });
  }
}

async function readStandardInput(): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of process.stdin) {
    pieces.push(piece as Buffer);
    size += (piece as Buffer).length;
    if (size > MOST_INPUT_BYTES) break;
  }
  return Buffer.concat(pieces);
}
