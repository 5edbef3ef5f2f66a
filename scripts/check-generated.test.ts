import { copyFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { checkBreaking, checkGenerated } from '#scripts/check-generated.ts';
import { commandCheck, runCommand } from '#scripts/check-kit.ts';
import { addFiles, withRepository } from '#test/support/repository.ts';

const repository = join(import.meta.dirname, '..');
const path = 'protos/steward/trial/v1/trial_service.proto';
const contract = `syntax = "proto3";

package steward.trial.v1;

// Tries things.
service TrialService {
  // Tries one thing. NOT_FOUND: no such thing.
  rpc Try(TryRequest) returns (TryResponse);
}

message TryRequest {
  string name = 1;
}

message TryResponse {
  string answer = 1;
}
`;

/** A repository with the real buf configuration and one contract, generated. */
async function withContract(body: (root: string) => Promise<void>): Promise<void> {
  await withRepository({ [path]: contract }, async (root) => {
    for (const file of ['buf.yaml', 'buf.gen.yaml']) copyFileSync(join(repository, file), join(root, file));
    symlinkSync(join(repository, 'node_modules'), join(root, 'node_modules'));
    expect(await runCommand(root, 'buf', ['generate'])).toMatchObject({ status: 0 });
    await body(root);
  });
}

beforeAll(async () => {
  // The first start of buf unpacks its cache, which is not what the tests measure.
  await runCommand(repository, 'buf', ['--version']);
});

test('generated code that is current passes; stale, missing and left-over files are named', async () => {
  await withContract(async (root) => {
    expect(await checkGenerated(root)).toEqual({ problems: [] });
    addFiles(root, {
      [path]: contract.replace('string answer = 1', 'int64 answer = 1'),
      'protos/gen/steward/old/v1/old_pb.ts': '',
    });
    expect((await checkGenerated(root)).problems).toEqual([
      expect.stringMatching(/old_pb\.ts comes from no contract any more/),
      expect.stringMatching(/trial_service_pb\.ts is not what its contract generates/),
    ]);
    rmSync(join(root, 'protos/gen'), { recursive: true });
    expect((await checkGenerated(root)).problems).toEqual([expect.stringMatching(/trial_service_pb\.ts is missing/)]);
  });
});

test('a contract that does not compile fails instead of generating nothing', async () => {
  await withContract(async (root) => {
    addFiles(root, { [path]: contract.replace('string name = 1;', 'string name = ;') });
    expect((await checkGenerated(root)).problems).toEqual([
      expect.stringMatching(/^buf generate failed: .*trial_service/),
    ]);
  });
});

test('a missing baseline fails; against a baseline additions pass and changes break', async () => {
  await withContract(async (root) => {
    expect((await checkBreaking(root)).problems).toEqual([expect.stringMatching(/baseline\.binpb is missing/)]);
    await runCommand(root, 'buf', ['build', '--output', 'protos/baseline.binpb']);
    addFiles(root, { [path]: contract.replace('string answer = 1;', 'string answer = 1;\n  string more = 2;') });
    expect(await checkBreaking(root)).toEqual({ problems: [] });
    addFiles(root, { [path]: contract.replace('string name = 1;', 'int32 name = 1;') });
    expect((await checkBreaking(root)).problems.join('\n')).toMatch(/changed type from "string" to "int32"/);
  });
});

test('an RPC without its conditions in a comment fails the lint', async () => {
  await withContract(async (root) => {
    expect(await commandCheck(root, 'buf', ['lint'])).toEqual({ problems: [] });
    addFiles(root, { [path]: contract.replace('  // Tries one thing. NOT_FOUND: no such thing.\n', '') });
    expect((await commandCheck(root, 'buf', ['lint'])).problems.join('\n')).toMatch(
      /RPC "Try" should have a non-empty comment/,
    );
  });
});
