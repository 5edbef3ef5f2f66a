import type { JSONWebKeySet } from 'jose';
import type { Kysely } from 'kysely';
import type { AnchorStore } from '#platform/audit/anchors.ts';
import type { KnownModel } from '#platform/config/agent-definition.ts';
import type { Notifier } from '#platform/database/notify.ts';
import type { Database } from '#platform/database/tables.ts';
import type { Log } from '#platform/grpc/call.ts';
import type { RunGrantSigner } from '#platform/identity/grants.ts';
import type { BundleSigner } from '#platform/identity/incident-bundles.ts';
import type { Deliveries } from '#platform/temporal/deliveries.ts';
import type { Catalogs } from './catalogs.ts';
import type { Hub } from './hub.ts';

/** What run-api's RPCs stand on. */
export interface RunApiDeps {
  /** As the role steward_run_api. */
  readonly db: Kysely<Database>;
  /** Brings to Temporal what a commit owes it. */
  readonly deliveries: Deliveries;
  /** With run-api's own key, which nobody else has. */
  readonly grants: RunGrantSigner;
  /** With the same key. */
  readonly signBundle: BundleSigner;
  readonly hub: Hub;
  /** Told after the commit that a run has changed. */
  readonly notifier: Notifier;
  readonly catalogs: Catalogs;
  readonly knownModels: readonly KnownModel[];
  /** Address of a workflow in Temporal's Web UI; empty where none is configured. */
  readonly temporalUi: (workflowId: string) => string;
  /** Signed heads of the audit log; null where it is not told where they are. */
  readonly anchors: { readonly store: Pick<AnchorStore, 'read'>; readonly keys: JSONWebKeySet } | null;
  readonly log: Log;
}
