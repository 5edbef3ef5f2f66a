import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { RunTester, TestCall } from '#catalog-kit/testing.ts';
import type { JsonObject } from '#domain/json.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import {
  ADA,
  MAIL_DOMAIN,
  messagingWorld,
  type SmtpScript,
  scriptedSmtp,
  testMailbox,
} from '#test/support/messaging.ts';
import { messageIdOf } from './mail.ts';

const MAIL = { to: ['dana@northwind.example'], subject: 'Apollo', body: 'Hello,\n\nit is done.' };
const DIED = new Error('the process died');

let world: Awaited<ReturnType<typeof messagingWorld>>;
let mailbox: Awaited<ReturnType<typeof testMailbox>>;
let catalog: Awaited<ReturnType<typeof world.serve>>;
let run: RunTester;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  world = await messagingWorld();
  mailbox = await testMailbox();
  catalog = await world.serve({ smtpUrl: mailbox.url });
  run = await catalog.run(ADA);
});
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});
afterAll(async () => {
  await catalog?.stop();
  await mailbox?.stop();
  await world?.database.drop();
});

const ofCall = (call: Pick<TestCall, 'record'>) => {
  const id = messageIdOf(call.record.key, MAIL_DOMAIN);
  return {
    kept: async () => (await mailbox.kept()).filter((mail) => mail.messageId === id),
    suppressed: async () => (await mailbox.suppressed()).filter((mail) => mail.messageId === id),
  };
};
/** The catalog over a mail server that does as it is told, and a run on it. */
const over = async (script: SmtpScript) => {
  const server = await scriptedSmtp(script);
  stops.push(server.stop);
  const other = await world.serve({ smtpUrl: server.url });
  stops.push(other.stop);
  return { server, run: await other.run(ADA) };
};
const requestOf = ({ actionRecord, runGrant, executionGrants }: TestCall) => ({
  actionRecord,
  runGrant,
  executionGrants: [...executionGrants],
});
/** The same call, sent to the catalog whose mail server works. */
const repeat = (call: TestCall) => catalog.client.execute(requestOf(call));
const codeOf = async (work: Promise<unknown>) => (await stewardErrorOf(work)).code;

test('the descriptor says what people and policies need to know', async () => {
  const { tools } = await catalog.client.describeTools({});
  expect(tools.map((tool) => tool.name).sort()).toEqual(['list_messages', 'send_email', 'send_message_to_user']);
  expect(tools.find((tool) => tool.name === 'send_email')).toMatchObject({
    risk: 4,
    effectClass: 3,
    hasPreview: true,
    hasUndo: false,
    hasCheck: true,
    labels: [3, 4],
    sensitiveFields: ['to'],
    resourceKeys: ['email/{to}'],
    permissions: ['messaging:send'],
    quantities: ['emails=count(to)'],
    timeout: { seconds: 20n },
  });
});

test('sent once, whatever the number of repeats, exactly as the preview showed it', async () => {
  const body = 'Grüße,\r\n\r\n.a dot first\nand a long line: '.concat('x'.repeat(2_000), '\n\n');
  const args = {
    to: ['Dana@NorthWind.example', 'kim@northwind.example', 'dana@northwind.example'],
    subject: 'Dóne',
    body,
  };
  const call = await run.prepare('send_email', args);
  const preview = (await run.client.preview({ actionRecord: call.actionRecord, runGrant: call.runGrant })).change;
  expect(await ofCall(call).kept()).toEqual([]);
  const answers = await Promise.all(Array.from({ length: 10 }, () => run.execute(call)));
  const receipts = answers.map(({ outcome }) => (outcome.case === 'receipt' ? outcome.value : undefined));
  expect(receipts.filter((receipt) => receipt?.repeated === false)).toHaveLength(1);
  expect(receipts[0]?.undoable).toBe(false);
  expect(JSON.parse(receipts[0]?.resultJson ?? '')).toEqual({
    message_id: messageIdOf(call.record.key, MAIL_DOMAIN),
    accepted: ['dana@northwind.example', 'kim@northwind.example'],
  });

  const [mail, ...more] = await ofCall(call).kept();
  expect(more).toEqual([]);
  expect(await ofCall(call).suppressed()).toEqual([]);
  const shown = Object.fromEntries(preview?.fields.map((one) => [one.field, JSON.parse(one.afterJson)]) ?? []);
  expect(shown).toEqual({
    to: ['dana@northwind.example', 'kim@northwind.example'],
    from: 'steward@steward.example',
    reply_to: 'ada@acme.example',
    subject: 'Dóne',
    body: body.replaceAll('\r\n', '\n').trimEnd(),
  });
  expect(mail).toMatchObject({ to: shown.to, from: shown.from, subject: shown.subject, body: shown.body });
  expect(preview?.quantities).toEqual({ emails: 2n });
  expect(preview?.summary).toBe('e-mail to dana@northwind.example and 1 more: "Dóne"');
  for (const receipt of receipts) expect(receipt?.change).toEqual(preview);
});

test('a user whose name is no address is not written back to', async () => {
  const batch = await catalog.run({ ...ADA, user: 'release-desk' });
  const fields = (await batch.preview('send_email', MAIL))?.fields.map((one) => one.field);
  expect(fields).toEqual(['to', 'from', 'subject', 'body']);
});

test('the process dies after the mail server took it: the next one repeats it under the same id, delivered once', async () => {
  const hooks = {
    afterEffect: () => {
      throw DIED;
    },
  };
  const dying = await world.serve({ smtpUrl: mailbox.url, hooks });
  const before = await dying.run(ADA);
  const call = await before.prepare('send_email', MAIL);
  expect(await codeOf(before.execute(call))).toBe('OUTCOME_UNKNOWN');
  await dying.stop();
  const { digest, runGrant } = call;
  expect(await catalog.client.resolve({ key: call.record.key, digest, runGrant })).toMatchObject({
    state: { case: 'inDoubt', value: { running: false, repeatable: true } },
  });
  expect((await repeat(call)).outcome.case).toBe('receipt');
  expect(await ofCall(call).kept()).toHaveLength(1);
  expect(await ofCall(call).suppressed()).toHaveLength(1);
});

test.each<[string, SmtpScript]>([
  ['within', { within: 'die' }],
  ['after', { end: 'die' }],
])('the mail server goes away %s the content: in doubt until it is repeated', async (_, script) => {
  const bad = await over(script);
  const call = await bad.run.prepare('send_email', MAIL);
  expect(await codeOf(bad.run.execute(call))).toBe('OUTCOME_UNKNOWN');
  expect(await bad.run.resolve(call)).toMatchObject({ case: 'inDoubt', value: { running: false, repeatable: true } });
  // A later no says nothing about the first time.
  const refusing = await over({ rcpt: () => '550 no such user' });
  expect(await codeOf(refusing.run.client.execute(requestOf(call)))).toBe('OUTCOME_UNKNOWN');
  expect((await repeat(call)).outcome.case).toBe('receipt');
  expect(await ofCall(call).kept()).toHaveLength(1);
  for (const message of bad.server.contents) expect(message).toContain(messageIdOf(call.record.key, MAIL_DOMAIN));
});

test.each<[string, SmtpScript, string]>([
  ['closed at once', { greeting: '421 no more connections' }, 'UNAVAILABLE'],
  ['put off', { mail: '451 try later' }, 'UNAVAILABLE'],
  ['put off at the end', { end: '452 disk full' }, 'UNAVAILABLE'],
  ['a recipient unknown', { rcpt: () => '550 no such user' }, 'RECIPIENT_REFUSED'],
  ['taken for spam', { end: '554 spam' }, 'MAIL_REFUSED'],
])('definitely not sent: %s', async (_, script, expected) => {
  const bad = await over({ ...script, extensions: ['PIPELINING'] });
  const call = await bad.run.prepare('send_email', MAIL);
  const told = await bad.run.execute(call).then(
    ({ outcome }) => (outcome.case === 'refusal' ? outcome.value.code : 'done'),
    (error) => error.code,
  );
  expect(told).toBe(expected);
  expect((await bad.run.resolve(call, true)).case).toBe('nothing');
  expect((await repeat(call)).outcome.case).toBe('receipt');
  expect(await ofCall(call).kept()).toHaveLength(1);
  expect(await ofCall(call).suppressed()).toEqual([]);
});

test('no mail server: try later, nothing sent, and the same call goes out once it is back', async () => {
  const gone = await scriptedSmtp({});
  await gone.stop();
  const other = await world.serve({ smtpUrl: gone.url });
  stops.push(other.stop);
  const away = await other.run(ADA);
  const call = await away.prepare('send_email', MAIL);
  const error = await stewardErrorOf(away.execute(call));
  expect(error.code).toBe('UNAVAILABLE');
  expect(error.message).toMatch(/mail server cannot take mail right now/);
  expect((await repeat(call)).outcome.case).toBe('receipt');
  expect(await ofCall(call).kept()).toHaveLength(1);
});

test('cancelled before the content: nothing is sent, and the key can be buried', async () => {
  const slow = await over({ mail: '250-wait' });
  const call = await slow.run.prepare('send_email', MAIL);
  const cancel = new AbortController();
  const answer = codeOf(slow.run.client.execute(requestOf(call), { signal: cancel.signal }));
  await slow.server.asked;
  cancel.abort();
  expect(await answer).toBe('CANCELLED');
  // The caller hears of its cancel before the catalog has given the intent up; until then the key is in doubt.
  const deadline = Date.now() + 10_000;
  let state = await slow.run.resolve(call);
  while (state.case === 'inDoubt' && Date.now() < deadline) state = await slow.run.resolve(call);
  expect(state.case).toBe('tombstone');
  expect(await codeOf(repeat(call))).toBe('TOMBSTONED');
  expect(slow.server.contents).toEqual([]);
  expect(await ofCall(call).kept()).toEqual([]);
});

test('past its deadline before the content: nothing is sent', async () => {
  const slow = await over({ greeting: null });
  const call = await slow.run.prepare('send_email', MAIL);
  expect(await codeOf(slow.run.execute(call, 700))).toBe('DEADLINE');
  expect((await repeat(call)).outcome.case).toBe('receipt');
  expect(await ofCall(call).kept()).toHaveLength(1);
});

test.each<[string, string, JsonObject]>([
  ['a domain that is not allowed', 'RECIPIENT_NOT_ALLOWED', { to: ['dana@northwind.example', 'eve@evil.example'] }],
  ['a part of an allowed domain', 'RECIPIENT_NOT_ALLOWED', { to: ['dana@mail.northwind.example'] }],
  ['a look-alike of an allowed domain', 'RECIPIENT_NOT_ALLOWED', { to: ['dana@nοrthwind.example'] }],
  ['a name in front', 'RECIPIENT_INVALID', { to: ['Dana <dana@northwind.example>'] }],
  ['two in one', 'RECIPIENT_INVALID', { to: ['dana@northwind.example,eve@evil.example'] }],
  ['a header in the recipient', 'RECIPIENT_INVALID', { to: ['dana@northwind.example\r\nBcc: eve@evil.example'] }],
  ['a route', 'RECIPIENT_INVALID', { to: ['eve%evil.example@northwind.example'] }],
  ['a header in the subject', 'SUBJECT_INVALID', { subject: 'Apollo\r\nBcc: eve@evil.example' }],
  ['a bare line feed in the subject', 'SUBJECT_INVALID', { subject: 'Apollo\nBcc: eve@evil.example' }],
  ['a line separator in the subject', 'SUBJECT_INVALID', { subject: 'Apollo\u2028Bcc: eve@evil.example' }],
  ['an empty subject', 'SUBJECT_INVALID', { subject: ' ' }],
  ['control characters in the body', 'BODY_INVALID', { body: 'It is\u0000 done.' }],
  ['a body of nothing', 'BODY_INVALID', { body: '\n\n' }],
])('refused by preview and execute alike: %s', async (_, code, changed) => {
  const args = { ...MAIL, ...changed };
  const call = await run.prepare('send_email', args);
  expect((await run.execute(call)).outcome).toMatchObject({ case: 'refusal', value: { code } });
  expect((await run.resolve(call, true)).case).toBe('nothing');
  const preview = await stewardErrorOf(run.preview('send_email', args));
  expect([preview.code, preview.details.refusal]).toEqual(['TOOL_REFUSED', code]);
  expect(await ofCall(call).kept()).toEqual([]);
});

test('the refusal names the domain and who can change it', async () => {
  const call = await run.prepare('send_email', { ...MAIL, to: ['eve@evil.example'] });
  expect((await run.execute(call)).outcome.value).toMatchObject({
    message: expect.stringMatching(/evil\.example.*operators of the messaging catalog/s),
  });
});

test.each<[string, JsonObject]>([
  ['nobody', { to: [] }],
  ['too many', { to: Array<string>(11).fill('dana@northwind.example') }],
  ['no list', { to: 'dana@northwind.example' }],
  ['an unknown field', { cc: ['eve@evil.example'] }],
  ['a long subject', { subject: 'x'.repeat(201) }],
  ['a body without end', { body: 'x'.repeat(20_001) }],
])('arguments that do not fit: %s', async (_, changed) => {
  expect(await codeOf(run.call('send_email', { ...MAIL, ...changed }))).toBe('ARGUMENTS_INVALID');
});

test("another tenant's allowed domains do not count, nor does its mail", async () => {
  await world.database.query(
    `insert into messaging.allowed_domains (tenant, domain) values ('globex', 'globex.example')`,
  );
  const globex = await catalog.run({ ...ADA, tenant: 'globex' });
  expect(await globex.refusal('send_email', MAIL)).toBe('RECIPIENT_NOT_ALLOWED');
  const own = { ...MAIL, to: ['hank@globex.example'] };
  expect(await run.refusal('send_email', own)).toBe('RECIPIENT_NOT_ALLOWED');
  expect((await globex.call('send_email', own)).result.accepted).toEqual(['hank@globex.example']);
});

test('needs its permission, and keeps to the recipients a run is narrowed to', async () => {
  const mute = await catalog.run({ ...ADA, permissions: [] });
  expect(await mute.refusal('send_email', MAIL)).toBe('NOT_PERMITTED');
  const narrow = await catalog.run({ ...ADA, resources: ['email/dana@northwind.example'] });
  const more = { ...MAIL, to: ['dana@northwind.example', 'kim@northwind.example'] };
  expect(await narrow.refusal('send_email', more)).toBe('RESOURCE_DENIED');
  expect((await narrow.call('send_email', MAIL)).result.accepted).toEqual(['dana@northwind.example']);
});

test("the catalog's own role cannot allow a domain", async () => {
  const [row] = await world.database.query<{ may: boolean }>(
    `select has_table_privilege('steward_messaging', 'messaging.allowed_domains', 'insert, update, delete') as may`,
  );
  expect(row?.may).toBe(false);
});
