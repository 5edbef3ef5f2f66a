/** What the files of one part of the repository may import. Prefixes are folders, or files by their full path. */
export interface Zone {
  /** Matches a path relative to the root; `$1` in the lists stands for its first group. */
  files: RegExp;
  /** Our own files, by prefix; a zone may always import itself. `null`: everything. */
  own: readonly string[] | null;
  /** Prefixes of which only types may be imported. */
  ownTypes?: readonly string[];
  /** Installed packages, by name or by entry. `null`: every one. */
  packages: readonly string[] | null;
  /** Packages that are refused although `packages` is null. */
  withoutPackages?: readonly string[];
  /** Node's own modules, with `node:`. `null`: every one. */
  builtins: readonly string[] | null;
  /** Said to whoever breaks the rule. */
  reason: string;
}

const CONTRACTS = ['domain', 'protos/gen'];

/** The import directions of the repository. The first zone whose `files` match a file is the one that counts. */
export const zones: readonly Zone[] = [
  {
    files: /\.test\.tsx?$|^(?:test|evals|bench)\//,
    own: null,
    packages: null,
    builtins: null,
    reason: 'tests may import everything',
  },
  {
    files: /^(domain)\//,
    own: ['$1'],
    packages: [],
    builtins: [],
    reason: 'domain is pure rules and types and imports nothing',
  },
  {
    files: /^(workflows)\//,
    own: ['$1', 'domain'],
    packages: ['@temporalio/workflow', '@temporalio/common'],
    builtins: [],
    reason: 'workflows are replayed: domain and the deterministic parts of the Temporal SDK only',
  },
  {
    files: /^(activities)\//,
    own: ['$1', 'domain'],
    packages: ['@temporalio/activity', '@temporalio/common'],
    builtins: ['node:crypto'],
    reason: 'activities implement the ports of domain; services/worker hands them their adapters',
  },
  {
    files: /^protos\/gen\//,
    own: ['protos/gen'],
    packages: ['@bufbuild/protobuf'],
    builtins: [],
    reason: 'generated code stands on its runtime alone',
  },
  {
    files: /^(platform)\//,
    own: ['$1', ...CONTRACTS],
    packages: null,
    builtins: null,
    reason: 'platform adapts vendors to domain and knows no process',
  },
  {
    files: /^(catalog-kit)\//,
    own: ['$1', ...CONTRACTS, 'platform/grpc', 'platform/database', 'platform/identity'],
    packages: null,
    builtins: null,
    reason: 'the kit is what a domain team imports: contracts, platform/grpc, platform/database, platform/identity',
  },
  {
    files: /^services\/catalogs\/([^/]+)\//,
    own: [
      'services/catalogs/$1',
      ...CONTRACTS,
      'catalog-kit',
      'platform/grpc',
      'platform/database',
      'platform/config',
      'platform/identity',
      'platform/telemetry',
    ],
    packages: null,
    builtins: null,
    reason: 'a catalog stands on catalog-kit and imports no other service',
  },
  {
    files: /^services\/(worker)\//,
    own: ['services/$1', ...CONTRACTS, 'platform', 'activities', 'workflows'],
    packages: null,
    builtins: null,
    reason: 'the worker wires workflows, activities and platform, and imports no other service',
  },
  {
    files: /^services\/([^/]+)\//,
    own: ['services/$1', ...CONTRACTS, 'platform'],
    packages: null,
    builtins: null,
    reason: 'a service stands on platform, imports no other service, and leaves workflows and activities to the worker',
  },
  {
    files: /^(cli\/dev)\//,
    own: ['cli', 'client', ...CONTRACTS, 'platform/grpc', 'platform/identity', 'deploy/dev'],
    packages: null,
    builtins: null,
    reason: '`steward dev` drives the embedded launcher in deploy/dev and mints local tokens',
  },
  {
    files: /^(client)\//,
    own: ['$1', 'protos/gen', 'platform/grpc', 'domain/errors.ts'],
    ownTypes: ['domain'],
    packages: ['@bufbuild/protobuf'],
    builtins: null,
    reason: 'the client is what a product service installs: it speaks gRPC only',
  },
  {
    files: /^(cli)\//,
    own: [
      '$1',
      'client',
      'protos/gen',
      'platform/grpc',
      'domain/errors.ts',
      'platform/identity/incident-bundles.ts',
      'platform/audit',
    ],
    ownTypes: ['domain'],
    packages: null,
    withoutPackages: ['pg', 'kysely', '@temporalio', '@anthropic-ai'],
    builtins: null,
    reason: 'the command line speaks gRPC only, and checks evidence offline; of domain it takes types and errors',
  },
  {
    files: /^(deploy)\//,
    own: ['$1', ...CONTRACTS, 'platform'],
    packages: null,
    builtins: null,
    reason: 'the launcher starts services by their path and imports none',
  },
  {
    files: /^(scripts)\//,
    own: ['$1'],
    packages: null,
    builtins: null,
    reason: 'the checks look at the product from outside',
  },
  {
    files: /^[^/]+$/,
    own: [],
    packages: null,
    builtins: null,
    reason: 'configuration files import no product code',
  },
];
