/** What is wrong with the world that a process of the suite lives in. Imported first by each of them. */

import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { CLOCK_VARIABLE, DROP_VARIABLE, DROPPED_FILE, FOLDER_VARIABLE } from '../points.ts';

const offset = Number(process.env[CLOCK_VARIABLE] ?? 0);
const share = Number(process.env[DROP_VARIABLE] ?? 0);

if (offset !== 0) {
  const real = Date;
  const now = () => real.now() + offset;
  globalThis.Date = new Proxy(real, {
    construct: (target, args, as) => Reflect.construct(target, args.length === 0 ? [now()] : args, as) as Date,
    get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
  });
}

if (share > 0) {
  const emit = pg.Client.prototype.emit;
  pg.Client.prototype.emit = function (this: pg.Client, event: string | symbol, ...args: unknown[]): boolean {
    if (event !== 'notification' || Math.random() >= share)
      return Reflect.apply(emit, this, [event, ...args]) as boolean;
    appendFileSync(join(process.env[FOLDER_VARIABLE] ?? '', DROPPED_FILE), '.');
    return true;
  } as typeof emit;
}
