import { create } from '@bufbuild/protobuf';
import { expect, test } from '@jest/globals';
import { GetRunRequestSchema, RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { toDefinition } from './definition.ts';

test('a definition has every method with its path, its stream kind and its messages', () => {
  const definition = toDefinition(RunService);
  expect(Object.keys(definition)).toEqual(RunService.methods.map((method) => method.localName));
  expect(definition.watchRun).toMatchObject({
    path: '/steward.run.v1.RunService/WatchRun',
    requestStream: false,
    responseStream: true,
  });
  const bytes = definition.getRun.requestSerialize({ runId: 'r1' });
  expect(definition.getRun.requestDeserialize(bytes)).toEqual(create(GetRunRequestSchema, { runId: 'r1' }));
  expect(
    definition.getRun.responseDeserialize(definition.getRun.responseSerialize({ run: { id: 'r1' } })).run?.id,
  ).toBe('r1');
});
