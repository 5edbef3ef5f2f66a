import { type Timestamp, timestampMs } from '@bufbuild/protobuf/wkt';
import type { Look } from './look.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A span of milliseconds in its two largest units: `0.4s`, `42s`, `3m 05s`, `2h 10m`, `6d 23h`. */
export function duration(ms: number): string {
  const span = Math.max(0, ms);
  if (span < 10 * SECOND) return `${(Math.floor(span / 100) / 10).toFixed(1)}s`;
  if (span < MINUTE) return `${Math.floor(span / SECOND)}s`;
  if (span < HOUR) return two(span, MINUTE, 'm', SECOND, 's');
  if (span < DAY) return two(span, HOUR, 'h', MINUTE, 'm');
  return `${Math.floor(span / DAY)}d ${Math.floor((span % DAY) / HOUR)}h`;
}

function two(span: number, big: number, bigName: string, small: number, smallName: string): string {
  const rest = Math.floor((span % big) / small);
  return `${Math.floor(span / big)}${bigName} ${String(rest).padStart(2, '0')}${smallName}`;
}

/** Milliseconds since 1970, or null where the time is not set. */
export function millis(time: Timestamp | undefined): number | null {
  return time === undefined ? null : timestampMs(time);
}

/** `3m 05s ago`, `in 6d 23h`, `now`. */
export function relative(at: number, now: number): string {
  const ms = at - now;
  if (Math.abs(ms) < SECOND) return 'now';
  return ms < 0 ? `${duration(-ms)} ago` : `in ${duration(ms)}`;
}

/** Local date and time: `2026-11-20 23:59:06`. */
export function clock(at: number, look: Look): string {
  const format = new Intl.DateTimeFormat('sv-SE', {
    dateStyle: 'short',
    timeStyle: 'medium',
    ...(look.timeZone === undefined ? {} : { timeZone: look.timeZone }),
  });
  return format.format(at);
}

/** `2026-11-20 23:59:06 (3m 05s ago)`; `-` where the time is not set. */
export function when(time: Timestamp | number | undefined, look: Look): string {
  const at = typeof time === 'number' ? time : millis(time);
  return at === null ? '-' : `${clock(at, look)} (${relative(at, look.now)})`;
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY };

/** Milliseconds of a span as typed: `500ms`, `30s`, `15m`, `2h`, `7d`, `1h30m`. Null where it is none, or is zero. */
export function parseDuration(text: string): number | null {
  if (!/^(?:\d{1,7}(?:\.\d{1,3})?(?:ms|s|m|h|d))+$/.test(text)) return null;
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    ms += Number(amount) * (UNITS[unit ?? ''] ?? 0);
  }
  return ms > 0 ? Math.round(ms) : null;
}
