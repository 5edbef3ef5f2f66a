/** Background jobs, each one Temporal Schedule. Counts of what a pass did, by name. */
export interface MaintenanceActivities {
  /** Compares open runs with Temporal and closes those whose workflow is gone. */
  reconcile(): Promise<Record<string, number>>;
  /** Charges dead model calls, starts runs that were never started, promotes queued ones. */
  sweep(): Promise<Record<string, number>>;
  /** Delivers what is owed to Temporal and was not delivered right after its commit. */
  deliverOutbox(): Promise<Record<string, number>>;
}

export type MaintenanceJob = 'reconcile' | 'sweep' | 'outbox';
