import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { CatalogTester } from '#catalog-kit/testing.ts';
import { catalogEnv } from '#test/support/catalog-env.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { ADA, MAIL_DOMAIN, messagingWorld, scriptedSmtp, testMailbox } from '#test/support/messaging.ts';
import { messageIdOf } from './mail.ts';

const MAIL = { to: ['dana@northwind.example'], subject: 'Apollo', body: 'It is done.' };
const { PATH } = process.env;

let world: Awaited<ReturnType<typeof messagingWorld>>;
let env: Awaited<ReturnType<typeof catalogEnv>>;
const stops: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  world = await messagingWorld();
  env = await catalogEnv(world.authority.identity, world.url);
});
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});
afterAll(async () => {
  await env?.remove();
  await world?.database.drop();
});

/** The catalog as a process of its own. */
async function start(smtpUrl: string) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { ...env.env, PATH, SMTP_URL: smtpUrl, STEWARD_MAIL_DOMAIN: MAIL_DOMAIN },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<unknown> => {
    child.kill(signal);
    return await exited;
  };
  stops.push(() => end('SIGKILL'));
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line') as Promise<[string]>,
    exited.then(() => Promise.reject(new Error('The catalog ended instead of serving.'))),
  ]);
  const { address } = JSON.parse(line.replace(/^STEWARD_READY /, '')) as { address: string };
  const tester: CatalogTester = await world.authority.connect(address);
  stops.push(async () => tester.close());
  return { tester, end };
}

test('its process says when it serves, sends, and stops when told to', async () => {
  const mailbox = await testMailbox();
  stops.push(mailbox.stop);
  const { tester, end } = await start(mailbox.url);
  const { record, result } = await (await tester.run(ADA)).call('send_email', MAIL);
  expect(result).toEqual({ message_id: messageIdOf(record.key, MAIL_DOMAIN), accepted: MAIL.to });
  expect(await mailbox.kept()).toHaveLength(1);
  expect(await end('SIGTERM')).toEqual([0, null]);
});

test('killed while the mail server thinks about the mail: the next process sends the same one', async () => {
  const thinking = await scriptedSmtp({ end: 'hang' });
  const mailbox = await testMailbox();
  stops.push(thinking.stop, mailbox.stop);
  const first = await start(thinking.url);
  const second = await start(mailbox.url);
  const run = await first.tester.run(ADA);
  const call = await run.prepare('send_email', MAIL);
  const lost = stewardErrorOf(run.execute(call, 1_500));
  await thinking.reached;
  await first.end('SIGKILL');
  expect((await lost).code).toMatch(/UNAVAILABLE|DEADLINE|CANCELLED/);

  const { actionRecord, runGrant, executionGrants, digest } = call;
  const key = call.record.key;
  const state = async () => (await second.tester.client.resolve({ key, digest, runGrant })).state;
  expect(await state()).toMatchObject({ case: 'inDoubt', value: { repeatable: true } });
  // Waits until the dead process can be taken for dead, and takes over.
  const again = { actionRecord, runGrant, executionGrants: [...executionGrants] };
  expect((await second.tester.client.execute(again, { deadlineMs: 20_000 })).outcome.case).toBe('receipt');
  expect((await state()).case).toBe('receipt');
  const id = messageIdOf(key, MAIL_DOMAIN);
  expect(thinking.contents).toEqual([expect.stringContaining(`Message-ID: <${id}>`)]);
  expect((await mailbox.kept()).map((mail) => mail.messageId)).toEqual([id]);
});

test('its process says which variables are missing or wrong', async () => {
  const entry = join(import.meta.dirname, 'main.ts');
  const failed = promisify(execFile)(process.execPath, [entry], {
    env: { PATH, SMTP_URL: 'http://mail.example', STEWARD_MAIL_DOMAIN: 'Steward' },
  });
  await expect(failed).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /DATABASE_URL is missing[\s\S]*SMTP_URL must be smtp:[\s\S]*STEWARD_MAIL_DOMAIN must be a domain/,
    ),
  });
});

test('the seed lets mail go to the demo client, as often as it is run; a reset takes other domains away', async () => {
  const { database } = world;
  const domains = async () =>
    (
      await database.query<{ domain: string }>(`select domain from messaging.allowed_domains where tenant = 'demo'`)
    ).map((row) => row.domain);
  const seed = (...more: string[]) =>
    promisify(execFile)(process.execPath, [join(import.meta.dirname, 'seed.ts'), '--tenant', 'demo', ...more], {
      env: { PATH, DATABASE_URL: database.url },
    });
  await Promise.all([seed(), seed()]);
  await seed();
  expect(await domains()).toEqual(['northwind.example']);
  await database.query(`insert into messaging.allowed_domains (tenant, domain) values ('demo', 'other.example')`);
  await seed();
  expect(await domains()).toHaveLength(2);
  await seed('--reset');
  expect(await domains()).toEqual(['northwind.example']);
});

test.each(['Northwind.example', 'northwind', 'a b.example', 'bücher.example', '*.example', '.example', ''])(
  'the table takes no domain %j',
  async (domain) => {
    const adding = world.database.query('insert into messaging.allowed_domains (tenant, domain) values ($1, $2)', [
      'demo',
      domain,
    ]);
    await expect(adding).rejects.toMatchObject({ code: '23514' });
  },
);
