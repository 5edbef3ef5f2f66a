/** Amounts as people write them in definitions, as integers. */

const MICRO_DIGITS = 6;

/** `$0.50` in micro-USD: exact, up to six decimals. Null where the text is no such amount. */
export function parseMicroUsd(text: string): number | null {
  const match = /^\$(\d{1,6})(?:\.(\d{1,6}))?$/.exec(text.trim());
  if (match === null) return null;
  const fraction = (match[2] ?? '').padEnd(MICRO_DIGITS, '0');
  return Number(match[1]) * 10 ** MICRO_DIGITS + Number(fraction);
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

/** `7d`, `90s`, `1h30m` in milliseconds. Null where the text is no such duration. */
export function parseDuration(text: string): number | null {
  const match = /^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$/.exec(text.trim());
  if (match === null || text.trim() === '') return null;
  return UNITS.reduce((sum, [, ms], index) => sum + Number(match[index + 1] ?? 0) * ms, 0);
}

/** The duration as `parseDuration` reads it, in its largest whole units. */
export function formatDuration(ms: number): string {
  let left = Math.floor(ms / 1_000) * 1_000;
  let text = '';
  for (const [unit, size] of UNITS) {
    const count = Math.floor(left / size);
    if (count > 0) text += `${count}${unit}`;
    left -= count * size;
  }
  return text === '' ? '0s' : text;
}
