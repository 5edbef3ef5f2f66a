import { expect, test } from '@jest/globals';
import { readAddress, readRecipients, requireAllowed } from './recipients.ts';

test.each([
  ['dana@northwind.example', 'dana@northwind.example'],
  ['Dana.Weiss+Apollo@NorthWind.Example', 'dana.weiss+apollo@northwind.example'],
  ['kim@bücher.example', 'kim@xn--bcher-kva.example'],
  ['kim@BÜCHER.example', 'kim@xn--bcher-kva.example'],
  ['kim@xn--bcher-kva.example', 'kim@xn--bcher-kva.example'],
  ['kim@northwind。example', 'kim@northwind.example'],
])('%s is %s', (text, address) => {
  expect(readAddress(text)).toEqual({ address, domain: address.slice(address.indexOf('@') + 1) });
});

test.each([
  '',
  '@',
  'dana',
  'dana@',
  '@northwind.example',
  'dana@northwind',
  'dana@northwind.example.',
  'dana@.northwind.example',
  'dana@-northwind.example',
  'dana@northwind..example',
  'dana@127.0.0.1',
  'dana@[127.0.0.1]',
  'dana@0x7f.1',
  'dana@northwind%2eexample',
  'dana@evil.example/northwind.example',
  'dana@evil.example#northwind.example',
  'dana@evil.example?northwind.example',
  'dana@evil.example:25',
  'dana@northwind.example@evil.example',
  'dana%evil.example@northwind.example',
  'evil.example!dana@northwind.example',
  '|/bin/true@northwind.example',
  '-oQ/tmp@northwind.example',
  '.dana@northwind.example',
  'dana.@northwind.example',
  'da..na@northwind.example',
  '"dana"@northwind.example',
  'dana weiss@northwind.example',
  'dana@northwind.example ',
  ' dana@northwind.example',
  'Dana <dana@northwind.example>',
  'dana@northwind.example,eve@evil.example',
  'dana@northwind.example;eve@evil.example',
  'dana(work)@northwind.example',
  'dana@northwind.example(work)',
  'dana@northwind.example\r\nBcc: eve@evil.example',
  'dana\r\nRCPT TO:<eve@evil.example>@northwind.example',
  'dana@north\u00adwind.example',
  'dana@north\u200bwind.example',
  'dana\u0000@northwind.example',
  'dänä@northwind.example',
  `${'d'.repeat(65)}@northwind.example`,
  `dana@${'n'.repeat(64)}.example`,
  `dana@${'n.'.repeat(126)}example`,
])('%j is no plain address', (text) => {
  expect(readAddress(text)).toBeNull();
});

test('each mailbox once, in the order given', () => {
  const to = ['kim@a.example', 'Dana@b.example', 'KIM@A.EXAMPLE', 'dana@B.example'];
  expect(readRecipients(to).map(({ address }) => address)).toEqual(['kim@a.example', 'dana@b.example']);
});

test('a domain is allowed by its exact name only, and what is outside is named', () => {
  const allowed = new Set(['northwind.example']);
  const told = (...to: string[]): unknown => {
    try {
      requireAllowed(readRecipients(to), allowed);
      return 'allowed';
    } catch (error) {
      return error;
    }
  };
  expect(told('dana@northwind.example', 'kim@NORTHWIND.example')).toBe('allowed');
  for (const domain of ['evilnorthwind.example', 'sub.northwind.example', 'northwind.example.evil.example']) {
    expect(told(`dana@${domain}`)).toMatchObject({ code: 'RECIPIENT_NOT_ALLOWED' });
  }
  // A Greek omicron for the o.
  expect(told('dana@northwind.example', 'dana@nοrthwind.example', 'eve@evil.example')).toMatchObject({
    code: 'RECIPIENT_NOT_ALLOWED',
    message: expect.stringMatching(/may not go to xn--\S+, evil\.example: .*operators of the messaging catalog/s),
  });
});
