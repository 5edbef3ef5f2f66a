import { randomBytes } from 'node:crypto';

const DIGITS = '0123456789abcdefghjkmnpqrstvwxyz';

/** A new run id: 26 letters and digits, 80 random bits, sorting by the time it was made. */
export function newRunId(now = Date.now()): string {
  let time = now;
  let text = '';
  for (let place = 0; place < 10; place += 1) {
    text = DIGITS[time % 32] + text;
    time = Math.floor(time / 32);
  }
  for (const byte of randomBytes(16)) text += DIGITS[byte % 32];
  return text;
}
