import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CatalogHooks } from '#catalog-kit/catalog.ts';
import { migrateCatalog } from '#catalog-kit/migrate.ts';
import { serveCatalog } from '#catalog-kit/serve.ts';
import { testAuthority } from '#catalog-kit/testing.ts';
import { readMail, suppressedFile } from '#deploy/dev/mail-file.ts';
import { startMailSink } from '#deploy/dev/mail-sink.ts';
import { connect } from '#platform/database/connect.ts';
import { seedMessaging } from '#services/catalogs/messaging/seed.ts';
import { smtpMailer } from '#services/catalogs/messaging/smtp.ts';
import type { MessagingTables } from '#services/catalogs/messaging/tables.ts';
import { messagingTools } from '#services/catalogs/messaging/tools.ts';
import { testDatabase } from './postgres.ts';

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
export const MAIL_DOMAIN = 'steward.example';
/** May send, on behalf of a tenant that allows northwind.example. */
export const ADA = { tenant: 'acme', user: 'ada@acme.example', permissions: ['messaging:send'] } as const;

/** A mail server that keeps what it gets, and what it has kept. */
export async function testMailbox() {
  const folder = await mkdtemp(join(tmpdir(), 'steward-mail-'));
  const file = join(folder, 'mail.jsonl');
  const sink = await startMailSink({ listen: '127.0.0.1:0', file });
  return {
    url: sink.address,
    kept: () => readMail(file),
    suppressed: () => readMail(suppressedFile(file)),
    async stop() {
      await sink.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface MessagingOptions {
  readonly smtpUrl: string;
  readonly hooks?: CatalogHooks;
}

/** The database of one test file, seeded for acme, and the authority all its catalogs trust. */
export async function messagingWorld() {
  const database = await testDatabase();
  const directory = join(import.meta.dirname, '../../services/catalogs/messaging/migrations');
  await migrateCatalog({ url: database.url, schema: 'messaging', directory });
  await seedMessaging(database.url, { tenant: ADA.tenant });
  const authority = await testAuthority();
  const url = await database.urlAs('steward_messaging');
  return {
    database,
    authority,
    url,
    /** Serves the catalog; several may be served on one database. */
    async serve({ smtpUrl, hooks }: MessagingOptions) {
      const { db, close } = connect<MessagingTables>(url, { schema: 'messaging', max: 12 });
      const server = await serveCatalog({
        name: 'messaging',
        tools: messagingTools(smtpMailer(smtpUrl), MAIL_DOMAIN),
        db,
        listen: '127.0.0.1:0',
        identity: authority.identity,
        log: SILENT,
        ...(hooks === undefined ? {} : { hooks }),
      });
      const tester = await authority.connect(server.address);
      return {
        ...tester,
        async stop() {
          tester.close();
          await server.stop(5_000);
          await close();
        },
      };
    },
  };
}

/** How a badly behaved mail server answers; what is left out is as it should be. */
export interface SmtpScript {
  /** The first line; null says nothing. */
  readonly greeting?: string | null;
  readonly extensions?: readonly string[];
  readonly auth?: string;
  readonly mail?: string;
  readonly rcpt?: (address: string) => string;
  readonly data?: string;
  /** After the content's first bytes: `die` hangs up. */
  readonly within?: 'die';
  /** After the content's end: a reply, `die` to hang up, `hang` to say nothing. */
  readonly end?: string;
}

/** A mail server that does as its script says. `contents` are the messages that were ended properly. */
export async function scriptedSmtp(script: SmtpScript) {
  const contents: string[] = [];
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  const connected = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.add(socket);
    connected.resolve();
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    const { greeting = '220 mail.test' } = script;
    if (greeting !== null) socket.write(`${greeting}\r\n`);
    let pending = '';
    let content: string | null = null;
    let accepted = 0;
    const say = (reply: string): void => void socket.write(`${reply}\r\n`);
    const command = (line: string): void => {
      commands.push(line);
      const verb = line.split(/[ :]/)[0]?.toUpperCase();
      if (verb === 'EHLO') {
        const lines = ['mail.test', ...(script.extensions ?? [])];
        say(lines.map((text, n) => `250${n === lines.length - 1 ? ' ' : '-'}${text}`).join('\r\n'));
      } else if (verb === 'AUTH') say(script.auth ?? '235 welcome');
      else if (verb === 'MAIL') {
        say(script.mail ?? '250 ok');
        asked.resolve();
      } else if (verb === 'RCPT') {
        const reply = script.rcpt?.(/<([^>]*)>/.exec(line)?.[1] ?? '') ?? '250 ok';
        if (reply.startsWith('2')) accepted += 1;
        say(reply);
      } else if (verb === 'DATA') {
        const reply = accepted === 0 ? '554 no valid recipients' : (script.data ?? '354 go on');
        say(reply);
        if (reply.startsWith('354')) content = '';
      } else if (verb === 'STARTTLS') say('502 not here');
      else if (verb === 'QUIT') socket.end('221 bye\r\n');
      else say('250 ok');
    };
    socket.on('data', (chunk) => {
      pending += chunk.toString('latin1');
      for (let end = pending.indexOf('\r\n'); end !== -1 && !socket.destroyed; end = pending.indexOf('\r\n')) {
        const line = pending.slice(0, end);
        pending = pending.slice(end + 2);
        if (content === null) {
          command(line);
        } else if (line !== '.') {
          content += `${line}\n`;
          if (script.within === 'die') socket.destroy();
        } else {
          contents.push(content);
          content = null;
          reached.resolve();
          if (script.end === 'die') socket.destroy();
          else if (script.end !== 'hang') say(script.end ?? '250 taken');
        }
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    port,
    contents,
    commands,
    /** Resolves once somebody is connected. */
    connected: connected.promise,
    /** Resolves once MAIL FROM has come. */
    asked: asked.promise,
    /** Resolves once a whole message has come. */
    reached: reached.promise,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
}
