import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { ModelCostSchema, RunSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { cell, openExport } from './export-files.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'steward-export-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const run = {
  case: 'run',
  value: create(RunSchema, { id: 'r1', input: '=cmd()', cost: { settledMicroUsd: 5n } }),
} as const;
const cost = { case: 'cost', value: create(ModelCostSchema, { runId: 'r1', chargedMicroUsd: 5n }) } as const;

test.each([
  ['plain', 'plain'],
  ['a,b', '"a,b"'],
  ['say "x"', '"say ""x"""'],
  ['two\nlines', '"two\nlines"'],
  ['=1+1', "'=1+1"],
  ['@x', "'@x"],
  ['-5', '-5'],
  [-5, '-5'],
  [null, ''],
  [{ a: 1 }, '"{""a"":1}"'],
])('%j becomes the cell %s', (value, text) => {
  expect(cell(value)).toBe(text);
});

test('CSV has a file for each kind, with a heading, under its name only when all is written', async () => {
  const sink = await openExport(folder, 'csv', ['run', 'cost']);
  await sink.write(run);
  await sink.write(cost);
  expect((await readdir(folder)).every((name) => name.endsWith('.part'))).toBe(true);
  expect((await sink.finish()).toSorted()).toEqual([join(folder, 'costs.csv'), join(folder, 'runs.csv')]);
  const [heading = '', row = ''] = (await readFile(join(folder, 'runs.csv'), 'utf8')).split('\n');
  const at = (name: string) => row.split(',')[heading.split(',').indexOf(name)];
  expect([at('id'), at('input'), at('cost.settledMicroUsd')]).toEqual(['r1', "'=cmd()", '5']);
});

test('JSON Lines name the kind of each line', async () => {
  const path = join(folder, 'out.jsonl');
  const sink = await openExport(path, 'jsonl', ['run', 'cost']);
  await sink.write(run);
  await sink.write(cost);
  await sink.finish();
  const lines = (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(lines).toEqual([
    { kind: 'run', run: expect.objectContaining({ id: 'r1', input: '=cmd()' }) },
    { kind: 'cost', cost: expect.objectContaining({ chargedMicroUsd: '5' }) },
  ]);
});

test('an export that broke leaves nothing behind, and several kinds of CSV need a folder', async () => {
  const sink = await openExport(folder, 'csv', ['run', 'step']);
  await sink.write(run);
  await sink.discard();
  expect(await readdir(folder)).toEqual([]);
  expect((await stewardErrorOf(openExport('-', 'csv', ['run', 'cost']))).code).toBe('INVALID_REQUEST');
});
