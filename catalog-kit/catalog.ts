import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Kysely } from 'kysely';
import type { DescribeToolsResponseSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { ExecutionGrantVerifier, RunGrantVerifier } from '#platform/identity/grants.ts';
import type { KitTables } from './database.ts';
import type { ProtoDescriptor } from './descriptor.ts';
import type { Receipts } from './receipts.ts';
import type { Tool } from './tool.ts';

/** What has just happened, for `CatalogHooks`. */
export interface EffectInfo {
  readonly tool: string;
  readonly key: string;
  readonly kind: 'execute' | 'undo';
}

/** Places where a suite may break the process off. A product sets none. */
export interface CatalogHooks {
  /** The far side has acted; its receipt is not stored yet. Keyed and unkeyed tools only. */
  afterEffect?(info: EffectInfo): void | Promise<void>;
  /** Effect and receipt are committed; the caller has no answer yet. */
  afterCommit?(info: EffectInfo): void | Promise<void>;
}

/** A served catalog: what its RPCs share. */
export interface Catalog {
  readonly name: string;
  readonly tools: ReadonlyMap<string, { readonly tool: Tool; readonly descriptor: ProtoDescriptor }>;
  readonly description: MessageInitShape<typeof DescribeToolsResponseSchema>;
  readonly db: Kysely<KitTables>;
  readonly receipts: Receipts;
  readonly runGrants: RunGrantVerifier;
  readonly executionGrants: ExecutionGrantVerifier;
  readonly hooks: CatalogHooks;
  /** Tells attempts of this process from those of others, and of itself before a restart. */
  readonly processId: string;
  /** Owners of the far effects this process is at right now. */
  readonly running: Set<string>;
}
