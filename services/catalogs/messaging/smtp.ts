import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import SMTPConnection, {
  type Envelope,
  type Options,
  type SMTPConnectionEnvelope,
  type SMTPError,
} from 'nodemailer/lib/smtp-connection';
import { notSent, refuse } from '#catalog-kit/refusal.ts';
import { encodeMail, type Mail } from './mail.ts';

const CONNECT_MS = 5_000;
const SILENCE_MS = 10_000;

/** Hands mails over to a mail server. */
export interface Mailer {
  /**
   * Hands one mail over, to all of its recipients or to none, and returns those the server accepted. Throws `notSent`
   * where the server has definitely not taken it: before the first byte of its content, or by the server's own answer.
   * Every other error leaves open whether it has.
   */
  send(mail: Mail, signal: AbortSignal): Promise<readonly string[]>;
}

type Auth = { readonly user: string; readonly pass: string };

/**
 * A mailer over `smtp://[user:password@]host[:port]` or `smtps://…`, one connection per mail. Every step has a time
 * limit (5 s to connect, 10 s of silence); the signal ends it at any time. Beyond this machine mail goes over TLS only;
 * `?requireTLS=false` lifts that for a relay on a network of one's own.
 */
export function smtpMailer(smtpUrl: string): Mailer {
  const url = new URL(smtpUrl);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const loopback = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  const secure = url.protocol === 'smtps:';
  const lifted = loopback || url.searchParams.get('requireTLS') === 'false';
  const user = decodeURIComponent(url.username);
  const auth = user === '' ? null : { user, pass: decodeURIComponent(url.password) };
  const options: Options = {
    host,
    port: Number(url.port) || (secure ? 465 : 587),
    secure,
    requireTLS: !secure && !lifted,
    connectionTimeout: CONNECT_MS,
    dnsTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    // What is given up is cut off, so that the server throws a message away that it has begun to read.
    socketCloseTimeout: 0,
  };
  return {
    async send(mail, signal) {
      const content = await encodeMail(mail);
      const name = mail.from.slice(mail.from.indexOf('@') + 1);
      return await handOver(new SMTPConnection({ ...options, name }), auth, mail, content, signal);
    },
  };
}

/** The connection keeps its record of refused recipients in here. */
type WatchedEnvelope = Envelope & Partial<SMTPConnectionEnvelope>;

async function handOver(
  connection: SMTPConnection,
  auth: Auth | null,
  mail: Mail,
  content: Buffer,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const envelope: WatchedEnvelope = {
    from: mail.from,
    to: mail.to.map(({ address }) => address),
    size: content.length,
  };
  const progress = { begun: false };
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  const onAbort = (): void => broken.reject(new Error('The call is no longer wanted.', { cause: signal.reason }));
  connection.on('error', broken.reject);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) throw new Error('The call is no longer wanted.', { cause: signal.reason });
    const sent = await Promise.race([broken.promise, converse(connection, auth, envelope, content, progress)]);
    connection.quit();
    return sent;
  } catch (error) {
    connection.close();
    throw explain(error, { ...progress, envelope, signal });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function converse(
  connection: SMTPConnection,
  auth: Auth | null,
  envelope: WatchedEnvelope,
  content: Buffer,
  progress: { begun: boolean },
): Promise<readonly string[]> {
  await done((callback) => connection.connect(callback));
  if (auth !== null) await done((callback) => connection.login({ ...auth, credentials: auth }, callback));
  const message = new Readable({
    // Asked for content once the server waits for it. Commands are sent ahead of answers, so the server may wait for
    // it although it has refused some recipients: then it gets none, and the others get no mail.
    read() {
      if ((envelope.rejected ?? []).length > 0) {
        this.destroy(new Error('Not every recipient was accepted.'));
        return;
      }
      progress.begun = true;
      this.push(content);
      this.push(null);
    },
  });
  return await new Promise((resolve, reject) => {
    connection.send(envelope, message, (error, sent) => (error || !sent ? reject(error) : resolve(sent.accepted)));
  });
}

function done(start: (callback: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()));
  });
}

/** What the failure says: a definite no, nothing sent but perhaps later, or nothing that is certain. */
function explain(
  error: unknown,
  at: { readonly begun: boolean; readonly envelope: WatchedEnvelope; readonly signal: AbortSignal },
): unknown {
  const { code, responseCode = 0, command, response, message } = error as SMTPError;
  // 421 ends the session, whatever became of what was sent before.
  const answered = code === 'EMESSAGE' && responseCode >= 400 && responseCode !== 421;
  if (at.begun && !answered) return error;
  if (at.signal.aborted && !answered) return notSent('It was no longer wanted before it was sent.', at.signal.reason);
  const refused = (at.envelope.rejectedErrors ?? []).filter((one) => (one.responseCode ?? 0) >= 500);
  if (refused.length > 0) {
    const who = refused.map((one) => `${one.recipient} (${printable(one.response || one.message)})`).join(', ');
    const why = `The mail server does not take mail for ${who}. Nothing was sent to anybody. Leave them out.`;
    return notSent(refuse('RECIPIENT_REFUSED', why), error);
  }
  const said = printable(response || message);
  const tooLarge = code === 'EMESSAGE' && responseCode === 0;
  if (tooLarge || ((command === 'MAIL FROM' || command === 'DATA') && responseCode >= 500)) {
    return notSent(refuse('MAIL_REFUSED', `The mail server refuses this mail: ${said}. Nothing was sent.`), error);
  }
  return notSent(`The mail server cannot take mail right now (${said}).`, error);
}

function printable(text: string): string {
  return text
    .replaceAll(/[\p{C}\s]+/gu, ' ')
    .trim()
    .slice(0, 200);
}
