import { withinResources } from '#domain/tools.ts';
import { type AdmittedCall, outsideOfRun } from './admission.ts';
import type { Bounds, KitTransaction } from './database.ts';
import type { DatabaseContext, ToolContext } from './tool.ts';

/** What a tool gets to know; with `db` where it works in a transaction. */
export function toolContext(call: AdmittedCall, bounds: Bounds): ToolContext;
export function toolContext(call: AdmittedCall, bounds: Bounds, db: KitTransaction): DatabaseContext<unknown>;
export function toolContext(call: AdmittedCall, bounds: Bounds, db?: KitTransaction): ToolContext {
  const { record, grant } = call;
  const mayTouch = (resource: string): boolean => withinResources(grant.resources, [resource]);
  return {
    tenant: grant.tenant,
    user: grant.user,
    run: record.run,
    call: record.call,
    key: record.key,
    signal: bounds.signal,
    deadline: bounds.deadline,
    hasPermission: (name) => grant.permissions.includes(name),
    mayTouch,
    requireResource(resource) {
      if (!mayTouch(resource)) throw outsideOfRun(resource);
    },
    ...(db === undefined ? {} : { db }),
  };
}
