const MICRO = 1_000_000n;

/**
 * Micro-USD as people read it: `$0.0123`, four decimals, rounded half away from zero. What is not nothing never reads
 * as nothing: `<$0.0001`.
 */
export function dollars(microUsd: bigint | number): string {
  const micro = typeof microUsd === 'bigint' ? microUsd : BigInt(Math.round(microUsd));
  const size = micro < 0n ? -micro : micro;
  const sign = micro < 0n ? '-' : '';
  if (size > 0n && size < 50n) return `${sign}<$0.0001`;
  const ten4 = (size + 50n) / 100n;
  const whole = String(ten4 / 10_000n).replace(/\B(?=(?:\d{3})+$)/g, ',');
  return `${sign}$${whole}.${String(ten4 % 10_000n).padStart(4, '0')}`;
}

/** Micro-USD as an amount to type, not less than it, in whole hundredths of a cent: `0.0346`. Without the dollar sign,
 * which a shell would take for its own. */
export function amountAtLeast(microUsd: number): string {
  return dollars(BigInt(Math.ceil(microUsd / 100)) * 100n).replaceAll(/[$,]/g, '');
}

/**
 * Micro-USD of an amount as typed: `$0.20`, `0.2`, `12`. Null where it is no such amount, is negative, or has more than
 * six decimals.
 */
export function parseDollars(text: string): bigint | null {
  const match = /^\$?(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text.trim());
  if (match === null) return null;
  return BigInt(match[1] ?? '0') * MICRO + BigInt((match[2] ?? '').padEnd(6, '0'));
}
