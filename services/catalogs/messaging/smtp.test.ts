import { createServer } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { type SmtpScript, scriptedSmtp, testMailbox } from '#test/support/messaging.ts';
import { composeMail, type Mail } from './mail.ts';
import { smtpMailer } from './smtp.ts';

const CALL = { key: 'run-1/1.1', user: 'ada@acme.example' };
const CONTENT = { to: ['dana@northwind.example', 'kim@northwind.example'], subject: 'Apollo', body: 'It is done.' };
const MAIL = composeMail(CALL, 'steward.example', CONTENT);
const WANTED = new AbortController().signal;

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});
const scripted = async (script: SmtpScript) => {
  const server = await scriptedSmtp(script);
  stops.push(server.stop);
  return server;
};

/** How a sending ended: what the caller would do with it. */
const endOf = async (url: string, signal = WANTED, mail: Mail = MAIL): Promise<string> => {
  try {
    return `accepted ${(await smtpMailer(url).send(mail, signal)).length}`;
  } catch (error) {
    const { name, refusal } = error as { name: string; refusal?: { code: string } | null };
    return name === 'NotSent' ? (refusal?.code ?? 'try later') : 'in doubt';
  }
};

test('arrives as it was composed, whatever is in it', async () => {
  const mailbox = await testMailbox();
  stops.push(mailbox.stop);
  const body = `Grüße,\n.\n.a dot first\nFrom the start\n=3D =C3 ?=\n\ttab  \n${'ü'.repeat(3_000)}\n\n日本 🙂\nend`;
  const subject = `=?utf-8?Q?no?= ${'ß'.repeat(120)} "x" <y@z> 🙂`;
  const mail = composeMail(CALL, 'steward.example', { ...CONTENT, subject, body });
  expect(await endOf(mailbox.url, WANTED, mail)).toBe('accepted 2');
  const [kept] = await mailbox.kept();
  expect(kept).toMatchObject({ messageId: mail.messageId, from: 'steward@steward.example', to: CONTENT.to });
  expect(kept?.subject).toBe(subject);
  expect(kept?.body).toBe(body);
});

test('the message names its sender, the acting user and all recipients, and asks for no automatic answer', async () => {
  const server = await scripted({});
  expect(await endOf(server.url)).toBe('accepted 2');
  const [message = ''] = server.contents;
  const headers = message.slice(0, message.indexOf('\n\n')).split('\n');
  expect(headers).toEqual(
    expect.arrayContaining([
      'From: steward@steward.example',
      'To: dana@northwind.example, kim@northwind.example',
      'Reply-To: ada@acme.example',
      'Subject: Apollo',
      `Message-ID: <${MAIL.messageId}>`,
      'Auto-Submitted: auto-generated',
    ]),
  );
  expect(server.commands.filter((line) => /^(MAIL|RCPT)/.test(line))).toEqual([
    'MAIL FROM:<steward@steward.example>',
    'RCPT TO:<dana@northwind.example>',
    'RCPT TO:<kim@northwind.example>',
  ]);
});

test.each<[string, SmtpScript, string]>([
  ['the greeting says no', { greeting: '554 not here' }, 'try later'],
  ['the greeting says not now', { greeting: '421 busy' }, 'try later'],
  ['the greeting is nonsense', { greeting: 'hello' }, 'try later'],
  ['the sender is refused', { mail: '550 who are you' }, 'MAIL_REFUSED'],
  ['the sender is put off', { mail: '451 later' }, 'try later'],
  ['all recipients are refused', { rcpt: () => '550 no such user' }, 'RECIPIENT_REFUSED'],
  ['all recipients are put off', { rcpt: () => '450 later' }, 'try later'],
  ['one recipient is refused', { rcpt: (to) => (to.startsWith('kim') ? '550 no' : '250 ok') }, 'RECIPIENT_REFUSED'],
  ['one recipient is put off', { rcpt: (to) => (to.startsWith('kim') ? '450 later' : '250 ok') }, 'try later'],
  ['content is refused beforehand', { data: '554 no valid recipients' }, 'MAIL_REFUSED'],
  ['content is put off', { data: '451 later' }, 'try later'],
  ['the content is refused', { end: '554 spam' }, 'MAIL_REFUSED'],
  ['the content is put off', { end: '452 disk full' }, 'try later'],
  ['it goes away within the content', { within: 'die' }, 'in doubt'],
  ['it goes away after the content', { end: 'die' }, 'in doubt'],
  ['it ends the session after the content', { end: '421 shutting down' }, 'in doubt'],
])('%s', async (_, script, expected) => {
  for (const extensions of [[], ['PIPELINING', '8BITMIME']]) {
    const server = await scripted({ ...script, extensions });
    expect(await endOf(server.url)).toBe(expected);
    // Nothing was handed over but what is answered after its end.
    expect(server.contents).toHaveLength(script.end === undefined ? 0 : 1);
  }
});

test('a refused recipient is named with what the server said, and the others get nothing', async () => {
  const rcpt = (to: string) => (to.startsWith('kim') ? '550 5.1.1 \x1b[31mno such user' : '250 ok');
  const server = await scripted({ rcpt, extensions: ['PIPELINING'] });
  await expect(smtpMailer(server.url).send(MAIL, WANTED)).rejects.toMatchObject({
    refusal: { message: expect.stringMatching(/kim@northwind\.example \(550 5\.1\.1 \[31mno such user\)/) },
  });
  expect(server.contents).toEqual([]);
});

test('a message too large for the server is refused before it is sent', async () => {
  const server = await scripted({ extensions: ['SIZE 100'] });
  expect(await endOf(server.url)).toBe('MAIL_REFUSED');
  expect(server.contents).toEqual([]);
});

test('a wrong password is the operators’ to put right, and is not shown', async () => {
  const server = await scripted({ extensions: ['AUTH PLAIN LOGIN'], auth: '535 wrong' });
  const url = server.url.replace('//', '//steward:s3cret%21@');
  const error = await smtpMailer(url)
    .send(MAIL, WANTED)
    .catch((reason) => reason);
  expect(error).toMatchObject({ name: 'NotSent', refusal: null });
  expect(String(error.message)).not.toMatch(/s3cret/);
  expect(server.commands).toContainEqual(`AUTH PLAIN ${Buffer.from('\0steward\0s3cret!').toString('base64')}`);
});

test('nobody there: try later', async () => {
  const server = createServer();
  await new Promise<void>((up) => server.listen(0, '127.0.0.1', () => up()));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  expect(await endOf(`smtp://127.0.0.1:${port}`)).toBe('try later');
  expect(await endOf('smtp://mail.invalid')).toBe('try later');
});

test.each<['connected' | 'asked', SmtpScript]>([
  ['connected', { greeting: null }],
  ['asked', { mail: '250-wait' }],
])('given up when the server was %s: nothing is sent', async (when, script) => {
  const server = await scripted(script);
  const stop = new AbortController();
  const ended = endOf(server.url, stop.signal);
  await server[when];
  stop.abort();
  expect(await ended).toBe('try later');
  expect(server.contents).toEqual([]);
});

test('given up before it began: the server is not even spoken to', async () => {
  const server = await scripted({});
  expect(await endOf(server.url, AbortSignal.abort())).toBe('try later');
  expect(server.commands).toEqual([]);
});

test('given up while the server thinks about the content: in doubt', async () => {
  const server = await scripted({ end: 'hang' });
  const stop = new AbortController();
  const ended = endOf(server.url, stop.signal);
  await server.reached;
  stop.abort();
  expect(await ended).toBe('in doubt');
});

test('beyond this machine nothing goes without TLS, unless that is lifted', async () => {
  const server = await scripted({});
  // An address of this machine that does not look like one.
  const lan = server.url.replace('127.0.0.1', '[::ffff:127.0.0.1]');
  expect(await endOf(lan)).toBe('try later');
  expect(server.contents).toEqual([]);
  expect(server.commands.filter((line) => /^(AUTH|MAIL)/.test(line))).toEqual([]);
  expect(await endOf(`${lan}?requireTLS=false`)).toBe('accepted 2');
});
