import { expect, test } from '@jest/globals';
import { checkSize } from '#scripts/check-size.ts';
import { addFiles, withRepository } from '#test/support/repository.ts';

const lines = (count: number): string => 'x;\n'.repeat(count);

test('400 lines pass with a warning, 401 fail, generated code does not count', async () => {
  const files = {
    'domain/short.ts': lines(300),
    'domain/long.ts': lines(400),
    'protos/gen/huge_pb.ts': lines(5000),
    'docs/long.md': lines(5000),
  };
  await withRepository(files, async (root) => {
    expect(await checkSize(root)).toEqual({
      problems: [],
      notes: ['  400 domain/long.ts  (long)', '  300 domain/short.ts'],
    });
    addFiles(root, { 'domain/long.ts': `${lines(400)}last line without a break` });
    expect((await checkSize(root)).problems).toEqual([expect.stringMatching(/^domain\/long\.ts has 401 lines/)]);
  });
});

test('ten files are listed, and beyond them only those that are too long', async () => {
  const names = Array.from({ length: 14 }, (_, index) => `domain/f${index}.ts`);
  const files = Object.fromEntries(names.map((name, index) => [name, lines(index < 12 ? 350 : 10)]));
  await withRepository(files, async (root) => {
    expect((await checkSize(root)).notes).toHaveLength(12);
  });
});
