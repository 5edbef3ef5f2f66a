import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { BEHAVIOURS } from './behaviours.ts';
import { type ContractBench, contractBench, PROVIDERS } from './bench.ts';

test('the contract has thirty behaviours, each with a name of its own', () => {
  expect(new Set(BEHAVIOURS.map((behaviour) => behaviour.name)).size).toBe(30);
});

describe.each(PROVIDERS)('%s', (provider) => {
  let bench: ContractBench;

  beforeAll(async () => {
    bench = await contractBench(provider);
  });
  afterAll(() => bench.close());

  test.each(BEHAVIOURS)('$name', (behaviour) => behaviour.check(bench));
});
