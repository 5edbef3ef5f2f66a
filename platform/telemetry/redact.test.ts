import { expect, test } from '@jest/globals';
import { StewardError } from '#domain/errors.ts';
import { guardLine, LONGEST_LINE, secretsOf, tellable } from './redact.ts';

test('only named fields are written; what has another name shows that it is not', () => {
  expect(
    tellable({ run: 'r1', code: 'KILLED', ms: 3, args: { to: 'x' }, text: 'hello', tool: { deep: true } }),
  ).toEqual({
    run: 'r1',
    code: 'KILLED',
    ms: 3,
    args: '[not logged]',
    text: '[not logged]',
    tool: '[not logged]',
  });
});

test('errors keep codes, causes and the place, and lose what they quote and carry', () => {
  const long = 'the customer asked for something private, twice';
  const driver = Object.assign(new Error(`invalid input syntax for type uuid: "${long}"`), {
    code: '22P02',
    detail: `Key (title)=(${long}) exists`,
    headers: { authorization: 'Bearer abcdefghijk' },
  });
  const provider = new Error(`400 {"type":"error","message":"${long}"}`, { cause: driver });
  const told = tellable({ err: new StewardError('INTERNAL', 'It failed.', { cause: provider }) });
  expect(told).toMatchObject({
    err: {
      type: 'StewardError',
      code: 'INTERNAL',
      message: 'It failed.',
      cause: {
        message: '400 {…}',
        cause: {
          code: '22P02',
          message: 'invalid input syntax for type uuid: "…"',
          stack: expect.stringMatching(/^at /),
        },
      },
    },
  });
  expect(JSON.stringify(told)).not.toContain('private');
  expect(JSON.stringify(told)).not.toContain('authorization');
  expect(tellable({ err: { args: long } })).toEqual({ err: { type: 'object', message: '[not logged]' } });
});

test('a chain of causes without end is cut', () => {
  const error = new Error('round');
  error.cause = error;
  expect(JSON.stringify(tellable({ err: error })).match(/round/g)).toHaveLength(4);
});

test.each([
  ['token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl!', 'token [token]!'],
  ['authorization: Bearer abc.def-123456', 'authorization: Bearer [token]'],
  ['key sk-ant-api03-abcdefgh refused', 'key [key] refused'],
  ['postgres://steward:hunter2@db:5432/x', 'postgres://steward:[password]@db:5432/x'],
  ['my secret is correct horse battery', 'my secret is [secret]'],
])('secrets go wherever they stand: %s', (line, safe) => {
  expect(guardLine(line, ['correct horse battery'])).toBe(safe);
});

test('secrets are known by the names of their variables', () => {
  const env = {
    ANTHROPIC_API_KEY: 'abcdefgh-1',
    STEWARD_TOKEN: 'abcdefgh-2',
    SMTP_PASSWORD: 'short',
    PATH: '/usr/bin',
  };
  expect(secretsOf({ OTEL_EXPORTER_OTLP_HEADERS: 'api-key=abcdefgh-3,x=1' })).toEqual(['abcdefgh-3']);
  expect(secretsOf(env)).toEqual(['abcdefgh-1', 'abcdefgh-2']);
});

test('a line has an end, stays JSON and keeps its ids', () => {
  const line = `${JSON.stringify({ level: 'warn', run: 'r1', msg: 'm', err: { message: 'x'.repeat(LONGEST_LINE) } })}\n`;
  expect(JSON.parse(guardLine(line, []))).toEqual({ level: 'warn', run: 'r1', msg: 'm', cut: line.length });
  const busy = tellable(Object.fromEntries(['run', 'tool', 'code'].map((name) => [name, 'x'.repeat(1e6)])));
  expect(JSON.stringify(busy).length).toBeLessThan(LONGEST_LINE);
});
