import { isStewardError, StewardError } from '#domain/errors.ts';
import type { CatalogPort, ExecuteOutcome, Receipt, Resolution } from '#domain/ports/services.ts';
import type { UndoCatalogPort } from '#domain/ports/undo.ts';
import {
  type ExecuteResponse,
  ToolCatalog,
  type UndoResponse,
  type Receipt as WireReceipt,
} from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { type Client, type Connection, connect } from '#platform/grpc/client.ts';
import { fromWireChange, parseKept } from './change.ts';

const RESOLVE_MS = 10_000;
/** So much longer than the tool's own time-out does a call wait: for the catalog's answer to come back. */
const GRACE_MS = 1_000;

export interface Catalogs extends CatalogPort, UndoCatalogPort {
  close(): void;
}

/** The tool catalogs over gRPC, by name. A catalog that is not configured is CATALOG_UNAVAILABLE. */
export function connectCatalogs(options: {
  readonly addresses: Readonly<Record<string, string>>;
  /** The token for one catalog, good there alone. */
  readonly token: (catalog: string) => Promise<string> | string;
}): Catalogs {
  const connections = new Map<string, Connection<typeof ToolCatalog>>(
    Object.entries(options.addresses).map(([name, address]) => [
      name,
      connect(ToolCatalog, { address, token: () => options.token(name), name: `catalog ${name}` }),
    ]),
  );
  const clientOf = (name: string): Client<typeof ToolCatalog> => {
    const connection = connections.get(name);
    if (!connection) {
      throw new StewardError('CATALOG_UNAVAILABLE', `Catalog ${name} has no address; add it to STEWARD_CATALOGS.`);
    }
    return connection.client;
  };
  return {
    close() {
      for (const connection of connections.values()) connection.close();
    },

    async execute(catalog, request, signal) {
      try {
        const answer = await clientOf(catalog).execute(
          {
            actionRecord: request.actionRecord,
            runGrant: request.runGrant,
            executionGrants: [...request.executionGrants],
          },
          { signal: signal as AbortSignal, deadlineMs: request.timeoutMs + GRACE_MS },
        );
        return toOutcome(catalog, answer);
      } catch (error) {
        throw ofCatalog(catalog, error);
      }
    },

    async undo(catalog, request, signal) {
      try {
        const answer = await clientOf(catalog).undo(
          {
            actionRecord: request.actionRecord,
            runGrant: request.runGrant,
            executionGrants: [...request.executionGrants],
          },
          { signal: signal as AbortSignal, deadlineMs: request.timeoutMs + GRACE_MS },
        );
        return toOutcome(catalog, answer);
      } catch (error) {
        throw ofCatalog(catalog, error);
      }
    },

    async resolve(catalog, request, signal): Promise<Resolution> {
      try {
        const { state } = await clientOf(catalog).resolve(
          { key: request.key, digest: request.digest, runGrant: request.runGrant, lookOnly: request.lookOnly },
          { signal: signal as AbortSignal, deadlineMs: RESOLVE_MS },
        );
        switch (state.case) {
          case 'receipt':
            return toReceipt(state.value);
          case 'tombstone':
            return { kind: 'tombstone' };
          case 'inDoubt':
            return { kind: 'in_doubt', running: state.value.running, repeatable: state.value.repeatable };
          case 'nothing':
            if (request.lookOnly) return { kind: 'nothing' };
            throw new StewardError('CATALOG_BROKEN', `Catalog ${catalog} did not settle ${request.key}.`);
          default:
            throw new StewardError('CATALOG_BROKEN', `Catalog ${catalog} answered without a state.`);
        }
      } catch (error) {
        throw ofCatalog(catalog, error);
      }
    },
  };
}

function toOutcome(catalog: string, { outcome }: ExecuteResponse | UndoResponse): ExecuteOutcome {
  switch (outcome.case) {
    case 'receipt':
      return toReceipt(outcome.value);
    case 'refusal':
      return { kind: 'refusal', code: plain(outcome.value.code), message: plain(outcome.value.message) };
    default:
      throw new StewardError('CATALOG_BROKEN', `Catalog ${catalog} answered without an outcome.`);
  }
}

/** Postgres takes no NUL: a refusal that could not be stored would be asked for again and again. */
function plain(text: string): string {
  return text.replaceAll('\0', '\ufffd');
}

function toReceipt(wire: WireReceipt): Receipt {
  try {
    parseKept(wire.resultJson);
    const change = fromWireChange(wire.change);
    const odd = Object.entries(change?.quantities ?? {}).find(([, amount]) => !Number.isSafeInteger(amount));
    if (odd) throw new RangeError(`${odd[0]} is beyond 2^53`);
    return { kind: 'receipt', resultJson: wire.resultJson, change, undoable: wire.undoable, repeated: wire.repeated };
  } catch (cause) {
    throw new StewardError(
      'CATALOG_BROKEN',
      'The catalog answered with a result that is no JSON, or none that can be kept.',
      { cause },
    );
  }
}

/** Failures of the way to a catalog leave the outcome open; what the catalog itself said passes. */
function ofCatalog(catalog: string, error: unknown): unknown {
  if (!isStewardError(error)) return error;
  const as = (code: 'CATALOG_UNAVAILABLE' | 'CATALOG_BROKEN', message: string) =>
    new StewardError(code, message, { cause: error });
  switch (error.code) {
    case 'UNAVAILABLE':
      return as('CATALOG_UNAVAILABLE', `Catalog ${catalog} cannot be reached.`);
    case 'TOKEN_MISSING':
    case 'TOKEN_INVALID':
    case 'TOKEN_EXPIRED':
    case 'TOKEN_WRONG_AUDIENCE':
    case 'ROLE_MISSING':
      // About this worker, not about the call: it never began.
      return as('CATALOG_UNAVAILABLE', `Catalog ${catalog} does not take this worker's token: ${error.message}`);
    case 'INTERNAL':
    case 'TOO_LARGE':
    case 'UNIMPLEMENTED':
      return as('CATALOG_BROKEN', `Catalog ${catalog} gave an answer that cannot be used: ${error.message}`);
    default:
      return error;
  }
}
