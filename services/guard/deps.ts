import type { Kysely, Transaction } from 'kysely';
import type { Notifier } from '#platform/database/notify.ts';
import type { Database } from '#platform/database/tables.ts';
import type { Log } from '#platform/grpc/call.ts';
import type { DecisionSigner, DecisionVerifier } from '#platform/identity/decisions.ts';
import type { ExecutionGrantSigner, RunGrantVerifier } from '#platform/identity/grants.ts';
import type { Catalogs } from './catalogs.ts';
import type { Delivery } from './delivery.ts';
import type { Baselines } from './judging/anomalies.ts';
import type { Pins } from './pins.ts';

/** What the guard's RPCs stand on. */
export interface GuardDeps {
  /** As the role steward_guard. */
  readonly db: Kysely<Database>;
  readonly runGrants: RunGrantVerifier;
  /** With the guard's own key, which nobody else has. */
  readonly executionGrants: ExecutionGrantSigner;
  readonly signDecision: DecisionSigner;
  readonly decisions: DecisionVerifier;
  readonly catalogs: Catalogs;
  readonly pins: Pins;
  readonly delivery: Delivery;
  readonly baselines: Baselines;
  /** Told after the commit that a run has changed. */
  readonly notifier: Notifier;
  /** Operators of this tenant set switches of the product. */
  readonly platformTenant: string;
  /** A transaction in which something may begin: what it reads of kill switches holds until it ends. */
  readonly withSwitches: <T>(tenant: string, work: (trx: Transaction<Database>) => Promise<T>) => Promise<T>;
  /** Brings outbox rows to Temporal. Never throws: what fails is the sweeper's. */
  readonly deliver: (tenant: string, outbox: readonly number[]) => Promise<void>;
  readonly log: Log;
}
