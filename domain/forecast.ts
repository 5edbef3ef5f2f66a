import { nextMonth } from './ids.ts';

const DAY_MS = 86_400_000;
const BASIS_DAYS = 7;
/** A shorter time says nothing of a day. */
const LEAST_DAYS = 1;

/** Where a month ends at the rate of its last days. Amounts in micro-USD, times in milliseconds since 1970. */
export interface Forecast {
  readonly daily: number;
  /** What the rate was measured over: 7, or fewer where there was nothing before; at least 1. */
  readonly days: number;
  readonly forecast: number;
  /** When the limit is used up at this rate; null: not within the month. */
  readonly exhaustedAt: number | null;
}

/** `spent` since `since`, at most seven days ago; `since` null: nothing was. `limit` null: none. */
export function forecastOf(of: {
  readonly now: number;
  readonly spent: number;
  readonly since: number | null;
  readonly settled: number;
  readonly limit: number | null;
}): Forecast {
  const { now, spent, since, settled, limit } = of;
  const days = since === null ? BASIS_DAYS : Math.min(BASIS_DAYS, Math.max(LEAST_DAYS, (now - since) / DAY_MS));
  const daily = Math.round(spent / days);
  const end = nextMonth(now);
  const forecast = settled + Math.round((spent / days) * ((end - now) / DAY_MS));
  if (limit === null) return { daily, days, forecast, exhaustedAt: null };
  const left = limit - settled;
  const at = left <= 0 ? now : spent === 0 ? end : now + (left / (spent / days)) * DAY_MS;
  return { daily, days, forecast, exhaustedAt: at < end ? Math.round(at) : null };
}
