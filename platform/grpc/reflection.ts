import { create, type DescFile, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { CompatServiceDefinition, ServiceImplementation } from 'nice-grpc';
import { ServerReflection, ServerReflectionService } from 'nice-grpc-server-reflection';
import type { BoundService } from './bind.ts';

interface Served {
  readonly definition: CompatServiceDefinition;
  readonly implementation: ServiceImplementation<CompatServiceDefinition>;
}

/** The files with all they import, each once, imports first. */
function withImports(files: readonly DescFile[]): DescFile[] {
  const found = new Map<string, DescFile>();
  const add = (file: DescFile): void => {
    if (found.has(file.name)) return;
    for (const dependency of file.dependencies) add(dependency);
    found.set(file.name, file);
  };
  for (const file of files) add(file);
  return [...found.values()];
}

/**
 * gRPC reflection over the services, as v1 and as v1alpha: the messages are the same on the wire, and many clients,
 * Python's among them, still ask for v1alpha.
 */
export function reflectionServices(services: readonly BoundService[]): readonly Served[] {
  const files = withImports(services.map((service) => service.desc.file));
  const set = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: files.map((f) => f.proto) }));
  const names = services.map((service) => service.desc.typeName);
  const implementation = ServerReflection(set, names) as unknown as Served['implementation'];
  const v1 = ServerReflectionService as unknown as Record<string, { readonly path: string }>;
  const v1alpha = Object.fromEntries(
    Object.entries(v1).map(([name, method]) => [name, { ...method, path: method.path.replace('.v1.', '.v1alpha.') }]),
  );
  return [v1, v1alpha].map((definition) => ({
    definition: definition as unknown as CompatServiceDefinition,
    implementation,
  }));
}
