import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { count, displayWidth, group, oneLine, padEnd, truncate, visible, visibleLines, wrap } from './text.ts';

test('terminal escapes, bidirectional controls and zero-width characters are shown, not obeyed', () => {
  expect(visible('a\u001b[2Jb')).toBe('a␛[2Jb');
  expect(visible('\u009b31m\u0007\r\n\t\u007f')).toBe('<U+009B>31m␇␍␊␉␡');
  expect(visible('invoice\u202Efdp.exe')).toBe('invoice<U+202E>fdp.exe');
  expect(visible('ad\u200Bmin \u2066x\u2069 \uFEFF \u00AD')).toBe('ad<U+200B>min <U+2066>x<U+2069> <U+FEFF> <U+00AD>');
  expect(visible('tag \u{E0041} \u2028 \uD83D')).toBe('tag <U+E0041> <U+2028> <U+D83D>');
});

test('ordinary text of any script passes as it is', () => {
  for (const text of ['Grüße, Ολγα', '完了しました', 'ждёт', 'עברית', '✈\uFE0F ok', 'naïve café', '']) {
    expect(visible(text)).toBe(text);
  }
});

test('nothing that is made visible can still steer a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(visible(text)).not.toMatch(/[\p{Cc}\u200B-\u200F\u202A-\u202E\u2066-\u2069]/u);
    }),
  );
});

test('prose becomes one line, data keeps its lines', () => {
  expect(oneLine('  a\n\n b\t c ')).toBe('a b c');
  expect(visibleLines('a\r\nb')).toEqual(['a␍', 'b']);
});

test('width counts columns, not code units', () => {
  expect(displayWidth('abc')).toBe(3);
  expect(displayWidth('完了')).toBe(4);
  expect(displayWidth('e\u0301')).toBe(1);
  expect(displayWidth('👍🏽')).toBe(2);
});

test('cutting keeps within the width and says that it cut', () => {
  expect(truncate('abcdef', 6)).toBe('abcdef');
  expect(truncate('abcdefg', 6)).toBe('abcde…');
  expect(truncate('完了しました', 6)).toBe('完了…');
  expect(truncate('abc', 0)).toBe('');
});

test('wrapping drops nothing and stays within the width', () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 10, max: 40 }), (text, width) => {
      const lines = wrap(visible(text), width);
      expect(lines.join('')).toBe(visible(text));
      for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    }),
  );
  expect(wrap('the quick brown fox', 11)).toEqual(['the quick ', 'brown fox']);
  expect(wrap('x'.repeat(500), Number.POSITIVE_INFINITY)).toHaveLength(1);
});

test('padding and counting', () => {
  expect(padEnd('完', 4)).toBe('完  ');
  expect(group(1_234_567n)).toBe('1,234,567');
  expect(count(1, 'run')).toBe('1 run');
  expect(count(1200, 'run')).toBe('1,200 runs');
});
