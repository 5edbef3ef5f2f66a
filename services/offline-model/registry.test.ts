import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { ConversationView } from './conversation.ts';
import { choose, loadScripts, together } from './registry.ts';
import { defineScript, play, type Script } from './script.ts';
import { requestSchema } from './wire.ts';

const view = (text: string, system = ''): ConversationView =>
  new ConversationView(
    requestSchema.parse({
      model: 'offline-1',
      max_tokens: 1,
      system: system === '' ? [] : system,
      messages: [{ role: 'user', content: text }],
    }),
  );
const script = (name: string, claim?: RegExp): Script =>
  defineScript({
    name,
    turns: [() => ({ text: name })],
    ...(claim ? { match: (of) => claim.test(of.firstUserText) } : {}),
  });
const scripts = [script('a', /hello/), script('b', /hello world/), script('c')];

test.each([
  ['script: c', '', 'c'],
  ['do it\n  script: c  \nplease', 'script: a', 'c'],
  ['anything', 'You are kind.\nscript: a', 'a'],
  ['hello', '', 'a'],
])('%j with system %j is for %s', (text, system, expected) => {
  expect(choose(scripts, view(text, system)).name).toBe(expected);
});

test.each([
  ['hello world', /several scripts claim this conversation: a, b/],
  ['script: nobody', /no script "nobody"; there are: a, b, c/],
  ['good morning', /no script for "good morning"/],
])('%j is refused by name', (text, expected) => {
  expect(() => choose(scripts, view(text))).toThrow(expected);
});

test('wrong definitions are refused by name', () => {
  expect(() => defineScript({ name: 'No Good', answer: () => ({}) })).toThrow(/"No Good"/);
  expect(() => defineScript({ name: 'both', answer: () => ({}), turns: [] })).toThrow(/either/);
  expect(() => together(scripts, [script('a')])).toThrow(/two scripts named "a"/);
  expect(() => play(script('c'), { turn: 1 } as ConversationView)).toThrow(/it has 1 turns and this is one more/);
  expect(() => view('params: {"n": 1}').param('n', 'text')).toThrow(/parameter "n" must be like "text"/);
  expect(() => view('params: {oops}').params).toThrow(/"params:" is no JSON object/);
});

test('loads scripts from files and folders', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'scripts-'));
  try {
    await writeFile(join(folder, 'mine.ts'), "export const mine = { name: 'mine', answer: () => ({ text: 'hi' }) };\n");
    await writeFile(join(folder, 'mine.test.ts'), 'not a script');
    await writeFile(join(folder, 'none.txt'), 'export const nothing = 1;');
    expect((await loadScripts([folder])).map((each) => each.name)).toEqual(['mine']);
    expect((await loadScripts([join(folder, 'mine.ts')])).map((each) => each.name)).toEqual(['mine']);
    await expect(loadScripts([join(folder, 'absent')])).rejects.toThrow(/no scripts at .*absent/);
    await writeFile(join(folder, 'empty.ts'), 'export const nothing = 1;\n');
    await expect(loadScripts([folder])).rejects.toThrow(/empty.ts exports no script/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
