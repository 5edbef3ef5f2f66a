import { describe, expect, test } from '@jest/globals';
import { checkImports, problemWith, readAliases } from '#scripts/check-imports.ts';
import { withRepository } from '#test/support/repository.ts';

const aliases = readAliases(`${import.meta.dirname}/..`);

function problem(file: string, specifier: string | null, typeOnly = false): string | undefined {
  return problemWith(file, { specifier, typeOnly, line: 1 }, aliases);
}

const allowed: [string, string][] = [
  ['domain/run.ts', './money.ts'],
  ['workflows/agent-run/workflow.ts', '#domain/run.ts'],
  ['workflows/agent-run/workflow.ts', '@temporalio/workflow'],
  ['activities/model/think.ts', '#domain/ports/model.ts'],
  ['activities/model/think.ts', 'node:crypto'],
  ['platform/llm/anthropic.ts', '@anthropic-ai/sdk'],
  ['platform/grpc/server.ts', '#gen/steward/run/v1/run_service_pb.ts'],
  ['catalog-kit/serve.ts', '#platform/grpc/server.ts'],
  ['services/catalogs/projects/main.ts', '#catalog-kit/serve.ts'],
  ['services/catalogs/projects/main.ts', '#platform/config/load.ts'],
  ['services/worker/main.ts', '#activities/model/think.ts'],
  ['services/worker/main.ts', '#workflows/agent-run/contract.ts'],
  ['services/guard/main.ts', '#platform/policy/evaluate.ts'],
  ['services/guard/rpc/judge.ts', '../service.ts'],
  ['cli/run/start.ts', '#domain/errors.ts'],
  ['cli/dev/up.ts', '#deploy/dev/start.ts'],
  ['deploy/dev/start.ts', '#platform/database/migrate.ts'],
  ['protos/gen/steward/run/v1/run_pb.ts', '@bufbuild/protobuf/codegenv2'],
  ['domain/run.test.ts', '#test/support/skip.ts'],
  ['domain/run.test.ts', 'fast-check'],
  ['test/scenarios/crash.ts', '#services/guard/main.ts'],
  ['bench/main.ts', '#services/worker/main.ts'],
];

const refused: [string, string][] = [
  ['domain/run.ts', 'zod'],
  ['domain/run.ts', 'node:crypto'],
  ['domain/run.ts', '#platform/grpc/server.ts'],
  ['workflows/agent-run/workflow.ts', '#activities/model/think.ts'],
  ['workflows/agent-run/workflow.ts', 'node:crypto'],
  ['workflows/agent-run/workflow.ts', 'zod'],
  ['workflows/agent-run/workflow.ts', '@temporalio/workflows-lookalike'],
  ['workflows/interceptors.ts', '@temporalio/interceptors-opentelemetry-v2/lib/workflow'],
  ['activities/model/think.ts', '#platform/llm/anthropic.ts'],
  ['activities/model/think.ts', 'node:fs'],
  ['activities/model/think.ts', 'pg'],
  ['activities/model/think.ts', '#gen/steward/run/v1/run_service_pb.ts'],
  ['platform/llm/anthropic.ts', '#services/worker/main.ts'],
  ['platform/llm/anthropic.ts', '#catalog-kit/serve.ts'],
  ['catalog-kit/serve.ts', '#platform/llm/anthropic.ts'],
  ['services/catalogs/projects/main.ts', '#services/catalogs/messaging/main.ts'],
  ['services/catalogs/projects/main.ts', '#platform/llm/anthropic.ts'],
  ['services/worker/main.ts', '#services/guard/main.ts'],
  ['services/guard/main.ts', '#services/catalogs/projects/main.ts'],
  ['services/guard/main.ts', '#activities/model/think.ts'],
  ['services/run-api/main.ts', '#workflows/agent-run/contract.ts'],
  ['services/run-api/main.ts', '#services/run-api-old/main.ts'],
  ['cli/run/start.ts', '#platform/database/pool.ts'],
  ['cli/run/start.ts', '#domain/run.ts'],
  ['cli/run/start.ts', '#deploy/dev/start.ts'],
  ['cli/run/start.ts', '@temporalio/client'],
  ['cli/run/start.ts', 'pg'],
  ['deploy/dev/start.ts', '#services/worker/main.ts'],
  ['scripts/check.ts', '#domain/run.ts'],
  ['platform/grpc/server.ts', '#test/support/skip.ts'],
];

describe('directions', () => {
  test.each(allowed)('%s may import %s', (file, specifier) => {
    expect(problem(file, specifier)).toBeUndefined();
  });

  test.each(refused)('%s may not import %s', (file, specifier) => {
    expect(problem(file, specifier)).toMatch(/^may not import /);
  });

  test('the command line takes types of domain, and a direction holds for types too', () => {
    expect(problem('cli/run/start.ts', '#domain/run.ts', true)).toBeUndefined();
    expect(problem('domain/run.ts', '#platform/grpc/server.ts', true)).toMatch(/^may not import platform\/grpc/);
  });
});

describe('spelling', () => {
  test('folders are crossed by their # name', () => {
    expect(problem('platform/grpc/server.ts', '../../domain/run.ts')).toMatch(/relative path/);
    expect(problem('platform/grpc/server.ts', '#nowhere/run.ts')).toMatch(/package\.json/);
    expect(problem('platform/grpc/server.ts', '../../../elsewhere.ts')).toMatch(/outside the repository/);
  });

  test('targets that cannot be checked are refused', () => {
    expect(problem('activities/model/think.ts', null)).toMatch(/computed target/);
    expect(problem('services/offline-model/registry.ts', null)).toBeUndefined();
    expect(problem('platform/grpc/server.ts', '/etc/x.ts')).toMatch(/absolute path/);
    expect(problem('platform/grpc/server.ts', 'fs')).toMatch(/node: prefix/);
    expect(problem('platform/grpc/server.ts', './server.test.ts')).toMatch(/test file/);
  });

  test('a folder without a rule is named', () => {
    expect(problem('helpers/x.ts', './y.ts')).toMatch(/no known part/);
  });
});

test('a tree is read from its files: each problem with file, line and reason', async () => {
  const files = {
    'package.json': '{ "imports": { "#domain/*": "./domain/*", "#platform/*": "./platform/*" } }',
    'domain/run.ts': `export const a = 1;\nexport { b } from '#platform/b.ts';\n`,
    'domain/run.test.ts': `import { b } from '#platform/b.ts';\nb();\n`,
    'platform/b.ts': `import { a } from '#domain/run.ts';\nexport const b = () => a;\n`,
    'node_modules/x/index.ts': `import 'nothing';`,
    '.gitignore': 'node_modules/\n',
  };
  await withRepository(files, async (root) => {
    expect(await checkImports(root)).toEqual({
      problems: ['domain/run.ts:2 may not import platform/b.ts (domain is pure rules and types and imports nothing)'],
    });
  });
});
