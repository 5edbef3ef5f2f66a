import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ToolSummarySchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import type { HostedTool } from '../catalogs.ts';
import { EFFECTS, RISKS } from '../descriptors.ts';

/** Characters of a description in lists, so that a page of tools fits one message. */
const SHORT = 300;
/** Of what a catalog may have made up: names, versions, hashes, faults. */
const LONGEST = 200;

/** A tool in short. Its catalog's texts are bounded: nobody has looked at a tool that cannot be pinned. */
export function toToolSummary(
  { catalog, described, faults }: HostedTool,
  longest = SHORT,
): MessageInitShape<typeof ToolSummarySchema> {
  const cut = (text: string, length = LONGEST): string => text.slice(0, length).toWellFormed();
  return {
    catalog,
    name: cut(described.name),
    version: cut(described.version),
    hash: cut(described.hash),
    description: cut(described.description, longest),
    risk: RISKS[described.risk] ?? '',
    effectClass: EFFECTS[described.effectClass] ?? '',
    faults: faults.map((fault) => cut(fault)),
  };
}
