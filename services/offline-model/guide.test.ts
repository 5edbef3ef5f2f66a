import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { loadScripts } from './registry.ts';
import { rehearse } from './rehearse.ts';
import { builtInScripts } from './scripts/index.ts';

const GUIDE = new URL('../../docs/guides/offline-model.md', import.meta.url);

test('the script in the guide loads and plays as the guide says', async () => {
  const code = /```ts\n(.*?)```/s.exec(await readFile(GUIDE, 'utf8'))?.[1] ?? '';
  const folder = await mkdtemp(join(tmpdir(), 'guide-'));
  try {
    await writeFile(join(folder, 'refund-order.js'), code);
    const [script] = await loadScripts([folder]);
    if (script === undefined) throw new Error('no script');
    const end = (
      refund: () => unknown,
      order: () => unknown = () => ({ id: 'o-1', paid_cents: 500 }),
    ): string | undefined =>
      rehearse(script, { message: 'Please refund order o-1', tools: { get_order: order, refund } }).at(-1)?.text;
    expect(end(() => ({}))).toBe('The refund is on its way.');
    expect(end(() => new Error('DENIED: too old'))).toBe('Not refunded: DENIED: too old');
    expect(
      end(
        () => ({}),
        () => new Error('NOT_FOUND'),
      ),
    ).toContain('I leave it as it is');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the guide names every built-in script', async () => {
  const guide = await readFile(GUIDE, 'utf8');
  const absent = builtInScripts.filter(({ name }) => name !== 'close-out-release' && !guide.includes(`\`${name}\``));
  expect(absent).toEqual([]);
});
