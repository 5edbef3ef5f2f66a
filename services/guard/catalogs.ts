import { isStewardError, StewardError } from '#domain/errors.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { type Connection, connect } from '#platform/grpc/client.ts';
import { type Preview, readPreview } from './preview.ts';

/** What the guard asks catalogs. None of it has an effect. */
export interface Catalogs {
  /**
   * The hash a catalog gives for a tool now, at most 30 s old, or 5 min while the catalog cannot be read; null where it
   * no longer has the tool. Throws CATALOG_UNAVAILABLE or CATALOG_BROKEN where no hash can be had.
   */
  currentHash(catalog: string, tool: string): Promise<string | null>;
  /** Whether `currentHash` knows without asking. */
  isKnown(catalog: string): boolean;
  /**
   * What a call would change. Throws what the catalog refuses with; CATALOG_UNAVAILABLE where it does not answer within
   * 10 s, CATALOG_BROKEN where its answer cannot be read.
   */
  preview(catalog: string, request: PreviewRequest, signal: AbortSignal): Promise<Preview>;
  close(): void;
}

interface PreviewRequest {
  readonly actionRecord: Uint8Array;
  readonly runGrant: string;
}

const FRESH_MS = 30_000;
/** Older ones are read again beside the work, so that work that goes on never waits for it. */
const AGEING_MS = 20_000;
const USABLE_MS = 300_000;
/** After a failed reading the next one waits so long, while there is an older one to use. */
const QUIET_MS = 5_000;
const DESCRIBE_MS = 5_000;
const PREVIEW_MS = 10_000;
const MOST_TOOLS = 200;

interface Reading {
  readonly hashes: ReadonlyMap<string, string>;
  readonly at: number;
}

/** Connections to the catalogs at these addresses, made at the first use. `token` gives the guard's own for a catalog, good there alone. */
export function openCatalogs(
  addresses: Readonly<Record<string, string>>,
  token: (catalog: string) => Promise<string> | string,
  now: () => number = () => performance.now(),
): Catalogs {
  const known = new Map(
    Object.entries(addresses).map(([name, address]) => [
      name,
      new CatalogReader(
        name,
        connect(ToolCatalog, { address, token: () => token(name), name: `Catalog ${name}` }),
        now,
      ),
    ]),
  );
  const find = (name: string): CatalogReader => {
    const reader = known.get(name);
    if (reader) return reader;
    throw new StewardError(
      'CATALOG_UNAVAILABLE',
      `The guard has no address of catalog ${name}. Add it to STEWARD_CATALOGS.`,
    );
  };
  return {
    currentHash: async (catalog, tool) => (await find(catalog).hashes()).get(tool) ?? null,
    isKnown: (catalog) => known.get(catalog)?.isFresh() === true,
    preview: (catalog, request, signal) => find(catalog).preview(request, signal),
    close() {
      for (const reader of known.values()) reader.close();
    },
  };
}

class CatalogReader {
  readonly #name: string;
  readonly #connection: Connection<typeof ToolCatalog>;
  readonly #now: () => number;
  #last: Reading | undefined;
  #failedAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<Reading> | undefined;

  constructor(name: string, connection: Connection<typeof ToolCatalog>, now: () => number) {
    this.#name = name;
    this.#connection = connection;
    this.#now = now;
  }

  isFresh(): boolean {
    const age = this.#now() - (this.#last?.at ?? Number.NEGATIVE_INFINITY);
    const ageing = age > AGEING_MS && this.#now() - this.#failedAt >= QUIET_MS;
    if (ageing) this.#renew().catch(() => undefined);
    return age < (AGEING_MS + FRESH_MS) / 2;
  }

  async hashes(): Promise<ReadonlyMap<string, string>> {
    const age = this.#now() - (this.#last?.at ?? Number.NEGATIVE_INFINITY);
    if (this.#last && age < FRESH_MS) return this.#last.hashes;
    if (this.#last && age < USABLE_MS && this.#now() - this.#failedAt < QUIET_MS) return this.#last.hashes;
    try {
      return (await this.#renew()).hashes;
    } catch (error) {
      if (this.#last && this.#now() - this.#last.at < USABLE_MS) return this.#last.hashes;
      throw error;
    }
  }

  /** One question for all who wait. */
  #renew(): Promise<Reading> {
    this.#reading ??= this.#read()
      .then(
        (reading) => {
          this.#last = reading;
          return reading;
        },
        (error: unknown) => {
          this.#failedAt = this.#now();
          throw error;
        },
      )
      .finally(() => {
        this.#reading = undefined;
      });
    return this.#reading;
  }

  async #read(): Promise<Reading> {
    const at = this.#now();
    let answer: Awaited<ReturnType<Connection<typeof ToolCatalog>['client']['describeTools']>>;
    try {
      answer = await this.#connection.client.describeTools({}, { deadlineMs: DESCRIBE_MS });
    } catch (error) {
      throw this.#unanswered(error);
    }
    if (answer.catalog !== this.#name) throw this.#broken(`it calls itself ${answer.catalog.slice(0, 100)}`);
    if (answer.tools.length > MOST_TOOLS) throw this.#broken(`it describes ${answer.tools.length} tools`);
    return { hashes: new Map(answer.tools.map((tool) => [tool.name, tool.hash])), at };
  }

  async preview(request: PreviewRequest, signal: AbortSignal): Promise<Preview> {
    let answer: Awaited<ReturnType<Connection<typeof ToolCatalog>['client']['preview']>>;
    try {
      answer = await this.#connection.client.preview(request, { deadlineMs: PREVIEW_MS, signal });
    } catch (error) {
      throw isRefusal(error) || isCancelled(error) ? error : this.#unanswered(error);
    }
    return readPreview(answer.change, this.#name);
  }

  close(): void {
    this.#connection.close();
  }

  /** No answer, or one that says nothing about the call: the caller tries again. */
  #unanswered(error: unknown): StewardError {
    if (isStewardError(error) && BROKEN.has(error.code)) return this.#broken(error.message, error);
    const why = error instanceof Error ? error.message : String(error);
    return new StewardError('CATALOG_UNAVAILABLE', `Catalog ${this.#name} cannot be asked: ${why}`, { cause: error });
  }

  #broken(why: string, cause?: unknown): StewardError {
    return new StewardError('CATALOG_BROKEN', `Catalog ${this.#name} answers wrongly: ${why}.`, { cause });
  }
}

function isCancelled(error: unknown): boolean {
  return isStewardError(error) && error.code === 'CANCELLED';
}

/** Codes of answers that another try would not mend soon. */
const BROKEN: ReadonlySet<string> = new Set(['TOO_LARGE', 'INTERNAL', 'UNIMPLEMENTED', 'CATALOG_BROKEN']);

/** Codes by which a catalog says no to a call for good, whatever is tried again. */
const REFUSALS: ReadonlySet<string> = new Set([
  'ARGUMENTS_INVALID',
  'INVALID_REQUEST',
  'TOOL_REFUSED',
  'WRONG_STATE',
  'NOT_FOUND',
  'NOT_PERMITTED',
  'RESOURCE_DENIED',
  'POLICY_DENIED',
  'TOOL_UNKNOWN',
  'TOOL_CHANGED',
]);

/** Whether a failed preview is the catalog's answer to the call, and not a failure to ask. */
export function isRefusal(error: unknown): error is StewardError {
  return isStewardError(error) && REFUSALS.has(error.code);
}
