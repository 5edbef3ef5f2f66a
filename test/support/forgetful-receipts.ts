import type { Receipts } from '#catalog-kit/receipts.ts';

/**
 * Receipts that remember nothing: what a catalog without idempotency does. Composed by suites that must show duplicates
 * where the defence is gone; no product may.
 */
export function forgetfulReceipts(): Receipts {
  return {
    claim: async () => null,
    find: async () => null,
    complete: async () => true,
    takeOver: async () => true,
    renew: async () => undefined,
    release: async () => true,
    abandon: async () => undefined,
    bury: async () => null,
    consume: async () => true,
  };
}
