import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DescribeToolsResponseSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { Catalog } from '../catalog.ts';

/** The catalog's tools with their hashes: reads nothing but its own definitions. */
export async function describeTools(catalog: Catalog): Promise<MessageInitShape<typeof DescribeToolsResponseSchema>> {
  return catalog.description;
}
