import { AsyncLocalStorage } from 'node:async_hooks';

/** What a line of the log, or a call to another service, is about. Ids only: they are written as they are. */
export interface Ids {
  tenant?: string | undefined;
  run?: string | undefined;
  turn?: number | undefined;
  /** `turn.index` */
  call?: string | undefined;
  /** 32 hex digits */
  trace?: string | undefined;
  /** The RPC being served. */
  rpc?: string | undefined;
  activity?: string | undefined;
}

const current = new AsyncLocalStorage<Ids>();

/** Does the work under these ids, added to those it is done under already. */
export function withIds<T>(ids: Ids, work: () => T): T {
  return current.run({ ...current.getStore(), ...ids }, work);
}

/** As `withIds`, under these very ids: what is learned on the way is noted in them. */
export function underIds<T>(ids: Ids, work: () => T): T {
  return current.run(ids, work);
}

/** Adds what was learned on the way to the ids of the work under way; does nothing outside of any. */
export function noteIds(ids: Ids): void {
  const known = current.getStore();
  if (known !== undefined) Object.assign(known, ids);
}

/** The ids of the work under way. */
export function currentIds(): Readonly<Ids> {
  return current.getStore() ?? NONE;
}

const NONE: Readonly<Ids> = Object.freeze({});
