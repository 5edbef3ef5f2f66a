import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createTransport } from 'nodemailer';
import { openMailbox, readMail, suppressedFile } from './mail-file.ts';
import { type MailSink, startMailSink } from './mail-sink.ts';

let folder: string;
let file: string;
let sink: MailSink | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'steward-sink-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(() => {
  file = join(folder, `${crypto.randomUUID()}.jsonl`);
});
afterEach(async () => {
  await sink?.stop();
  sink = undefined;
});

const start = async (): Promise<MailSink> => {
  sink = await startMailSink({ listen: '127.0.0.1:0', file });
  return sink;
};
const send = (address: string, id: string, more: Record<string, unknown> = {}) =>
  createTransport(address).sendMail({
    messageId: `<${id}>`,
    from: 'Steward <steward@steward.example>',
    to: ['dana@northwind.example'],
    bcc: 'kim@bücher.example',
    subject: 'Grüße',
    text: 'Schön!\n',
    ...more,
  });
const ids = async () => (await readMail(file)).map((mail) => mail.messageId);

test('keeps what it is sent: envelope, subject and text', async () => {
  const { address } = await start();
  const before = Date.now();
  await send(address, 'a@x');
  const [mail] = await readMail(file);
  expect(mail).toEqual({
    messageId: 'a@x',
    from: 'steward@steward.example',
    to: ['dana@northwind.example', 'kim@xn--bcher-kva.example'],
    subject: 'Grüße',
    body: 'Schön!',
    at: expect.any(String),
  });
  expect(Date.parse(mail?.at ?? '')).toBeGreaterThanOrEqual(before);
});

test.each(['7bit', 'base64', 'quoted-printable'] as const)('reads text in %s', async (textEncoding) => {
  const { address } = await start();
  const text = '.dot\n=3D a=b\n'.concat(textEncoding === '7bit' ? 'plain' : `日本 🙂 ${'é'.repeat(500)}  \n\nend`);
  const encoding = textEncoding === '7bit' ? {} : { textEncoding };
  await send(address, 'a@x', { text, ...encoding, subject: '🙂'.repeat(80) });
  expect(await readMail(file)).toMatchObject([{ body: text, subject: '🙂'.repeat(80) }]);
});

test('keeps a message in several parts as it came', async () => {
  const { address } = await start();
  await send(address, 'a@x', { html: '<p>Hello</p>' });
  expect((await readMail(file))[0]?.body).toMatch(/text\/plain[\s\S]*<p>Hello<\/p>/);
});

test('a repeated Message-ID is accepted, noted, and not kept again, also after a restart', async () => {
  const first = await start();
  await Promise.all([1, 2, 3].map(() => send(first.address, 'a@x')));
  await send(first.address, 'b@x');
  await first.stop();
  const second = await start();
  await send(second.address, 'a@x');
  expect((await ids()).sort()).toEqual(['a@x', 'b@x']);
  expect((await readMail(suppressedFile(file))).map((mail) => mail.messageId)).toEqual(['a@x', 'a@x', 'a@x']);
});

test('messages without an id are all kept', async () => {
  const mailbox = await openMailbox(file);
  const mail = { messageId: '', from: 'a@x', to: ['b@x'], subject: '', body: '', at: '' };
  expect(await Promise.all([mailbox.keep(mail), mailbox.keep(mail)])).toEqual([true, true]);
  await mailbox.close();
  expect(await readMail(file)).toHaveLength(2);
});

test('a line that a crash cut off is removed, so that the next one is whole', async () => {
  const first = await start();
  await send(first.address, 'a@x');
  await first.stop();
  await appendFile(file, '{"messageId":"torn@x","fr');
  expect(await ids()).toEqual(['a@x']);
  const second = await start();
  await send(second.address, 'torn@x');
  expect(await ids()).toEqual(['a@x', 'torn@x']);
});

test('over 1 MiB is refused, said so beforehand or not, and not kept', async () => {
  const { address } = await start();
  const text = `${'x'.repeat(99)}\n`.repeat(11_000);
  await expect(send(address, 'a@x', { text })).rejects.toMatchObject({ responseCode: 552 });
  expect(await ids()).toEqual([]);
  await send(address, 'b@x');
  expect(await ids()).toEqual(['b@x']);
});

test('a client that breaks off within its message leaves nothing behind', async () => {
  const { address } = await start();
  const { hostname, port } = new URL(address);
  const socket = connect(Number(port), hostname);
  const lines = createInterface({ input: socket });
  for (const command of ['EHLO x', 'MAIL FROM:<a@x>', 'RCPT TO:<b@x>', 'DATA', 'Message-ID: <half@x>\r\n\r\nhalf']) {
    for await (const line of lines) if (/^\d{3} /.test(line)) break;
    socket.write(`${command}\r\n`);
  }
  socket.destroy();
  await send(address, 'whole@x');
  expect(await ids()).toEqual(['whole@x']);
});

test('as a process: accepted means on disk, whatever happens next', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'mail-sink.ts')], {
    env: { PATH: process.env.PATH, STEWARD_MAIL_FILE: file },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  expect(line).toMatch(/^STEWARD_READY \{"address":"smtp:\/\/127\.0\.0\.1:\d+"\}$/);
  const { address } = JSON.parse(line.replace(/^STEWARD_READY /, '')) as { address: string };
  await send(address, 'a@x');
  child.kill('SIGKILL');
  await exited;
  expect(await ids()).toEqual(['a@x']);
});

test('as a process: stops when told to, and says what is missing', async () => {
  const entry = join(import.meta.dirname, 'mail-sink.ts');
  const env = { PATH: process.env.PATH, STEWARD_MAIL_FILE: file };
  const child = spawn(process.execPath, [entry], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  await once(createInterface({ input: child.stdout }), 'line');
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);

  const mute = spawn(process.execPath, [entry], { env: { PATH: env.PATH }, stdio: ['ignore', 'ignore', 'pipe'] });
  const said: string[] = [];
  mute.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  expect(await once(mute, 'close')).toEqual([1, null]);
  expect(said.join('')).toMatch(/STEWARD_MAIL_FILE is missing/);
});
