import type { Change } from '#domain/tools.ts';
import type { KitTransaction } from './database.ts';

/** What is stored under a key. */
export type Known = Done | Tombstone | Intent;

/** The effect took place. */
export interface Done {
  readonly state: 'done';
  readonly key: string;
  readonly digest: string;
  readonly tool: string;
  readonly actionRecord: Uint8Array;
  /** JSON text, as it was stored. */
  readonly result: string;
  readonly change: Change;
  readonly undoable: boolean;
}

/** It did not, and never will. */
export interface Tombstone {
  readonly state: 'tombstone';
  readonly key: string;
  readonly digest: string;
}

/** An effect elsewhere was about to happen; whether it did is not known here. */
export interface Intent {
  readonly state: 'intent';
  readonly key: string;
  readonly digest: string;
  readonly effect: 'transactional' | 'keyed' | 'unkeyed';
  /** The attempt that is, or was last, at it. */
  readonly owner: string;
  /** While its lease lasts, the attempt counts as running, wherever it runs. */
  readonly leased: boolean;
}

/** Who claims a key, for what. */
export interface Claim {
  readonly key: string;
  readonly digest: string;
  readonly tool: string;
  readonly effect: 'transactional' | 'keyed' | 'unkeyed';
  readonly actionRecord: Uint8Array;
  readonly owner: string;
  /** How long the claim counts as running once it is committed without an outcome, in milliseconds. */
  readonly leaseMs: number;
}

/** How an effect ended. */
export interface Outcome {
  readonly result: string;
  readonly change: Change;
  readonly undoable: boolean;
}

/** A grant as it is used up. */
export interface UsedGrant {
  readonly id: string;
  readonly key: string;
  readonly digest: string;
}

/**
 * What a catalog remembers about keys. All methods work inside the caller's transaction, whose tenant is set; that is
 * what makes effect and receipt one. A product composes `postgresReceipts`; a suite that must prove itself composes a
 * defective one.
 */
export interface Receipts {
  /**
   * Takes a key that nobody has, and returns null; or returns what is known under it, after waiting for a transaction
   * that is just claiming or settling it.
   */
  claim(trx: KitTransaction, claim: Claim): Promise<Known | null>;
  /** What is known under a key, committed or in this transaction. */
  find(trx: KitTransaction, key: string): Promise<Known | null>;
  /** Settles an own claim. False where it is not the caller's any more. */
  complete(trx: KitTransaction, claim: Pick<Claim, 'key' | 'owner'>, outcome: Outcome): Promise<boolean>;
  /** Makes an intent whose owner is gone the caller's. False where another was quicker. */
  takeOver(trx: KitTransaction, claim: Claim, from: Intent): Promise<boolean>;
  /** Says that the caller is still at an own intent. Nothing happens where it is not the caller's any more. */
  renew(trx: KitTransaction, claim: Pick<Claim, 'key' | 'owner' | 'leaseMs'>): Promise<void>;
  /** Gives an own intent up: nothing was done. False where it is not the caller's any more. */
  release(trx: KitTransaction, claim: Pick<Claim, 'key' | 'owner'>): Promise<boolean>;
  /** Ends an own intent's lease: nobody is at it any more, and what became of it is not known. */
  abandon(trx: KitTransaction, claim: Pick<Claim, 'key' | 'owner'>): Promise<void>;
  /** Buries a key that nobody has, and returns null; or returns what is known under it, after waiting as `claim`. */
  bury(trx: KitTransaction, key: string, digest: string): Promise<Known | null>;
  /** Uses a grant up. False where it was used under another key or digest. */
  consume(trx: KitTransaction, grant: UsedGrant): Promise<boolean>;
}
