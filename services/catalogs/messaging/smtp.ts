import { once } from 'node:events';
import { Readable } from 'node:stream';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { notSent, refuse } from '#catalog-kit/refusal.ts';
import { encodeMail, type Mail } from './mail.ts';

const CONNECT_MS = 5_000;
const SILENCE_MS = 10_000;

/** Which of the recipients the mail server took. */
export interface Handover {
  readonly accepted: readonly string[];
  readonly rejected: readonly string[];
}

/** Hands mails over to a mail server. */
export interface Mailer {
  /**
   * Throws `notSent` where the server has definitely not taken the mail: before its content was begun, or by its own
   * final no. Any other error means that it may have.
   */
  send(mail: Mail, signal: AbortSignal): Promise<Handover>;
}

/**
 * A mailer over `smtp://[user:password@]host[:port]` or `smtps://…`, one connection per mail. Every step has a time
 * limit (5 s to connect, 10 s of silence); the signal ends it at any time. A password goes over TLS only, but for
 * loopback.
 */
export function smtpMailer(smtpUrl: string): Mailer {
  const url = new URL(smtpUrl);
  const secure = url.protocol === 'smtps:';
  const loopback = /^(127\.|localhost$|\[::1\]$)/.test(url.hostname);
  const auth =
    url.username === '' ? null : { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) };
  const options = {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    requireTLS: !secure && auth !== null && !loopback,
    ignoreTLS: loopback,
    connectionTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    dnsTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    socketCloseTimeout: 0,
  };
  return {
    async send(mail, signal) {
      const bytes = await encodeMail(mail);
      return await handOver(new SMTPConnection(options), auth, mail, bytes, signal);
    },
  };
}

type Auth = { readonly user: string; readonly pass: string };

async function handOver(
  connection: SMTPConnection,
  auth: Auth | null,
  mail: Mail,
  bytes: Buffer,
  signal: AbortSignal,
): Promise<Handover> {
  let begun = false;
  // Read from once the server has said that it is ready for the content, and not before.
  const content = Readable.from(
    (function* () {
      begun = true;
      yield bytes;
    })(),
  );
  const ended = new AbortController();
  const failed = once(connection, 'error', { signal: ended.signal }).then(([error]) => Promise.reject(error as Error));
  const aborted = once(signal, 'abort', { signal: ended.signal }).then(() => Promise.reject(signal.reason as Error));
  const either = <T>(work: Promise<T>): Promise<T> => Promise.race([work, failed, aborted]);
  failed.catch(() => undefined);
  aborted.catch(() => undefined);
  try {
    signal.throwIfAborted();
    await either(done((callback) => connection.connect(callback)));
    if (auth !== null) await either(done((callback) => connection.login(auth, callback)));
    const envelope = { from: mail.from, to: [...mail.to], size: bytes.length };
    const info = await either(
      new Promise<Handover>((resolve, reject) => {
        connection.send(envelope, content, (error, sent) => (error || !sent ? reject(error) : resolve(sent)));
      }),
    );
    connection.quit();
    return { accepted: info.accepted, rejected: info.rejected };
  } catch (error) {
    connection.close();
    throw explain(error, begun);
  } finally {
    ended.abort();
    content.destroy();
  }
}

function done(start: (callback: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()));
  });
}

/** A reply of the server is its word; without one, what counts is whether the content was begun. */
function explain(error: unknown, begun: boolean): unknown {
  const { responseCode, response } = error as { responseCode?: number; response?: string };
  if (responseCode !== undefined && responseCode >= 500) {
    const said = (response ?? '').replace(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
    return notSent(refuse('MAIL_REFUSED', `The mail server refused the mail: ${said}`), error);
  }
  if (responseCode !== undefined) return notSent('The mail server cannot take the mail right now.', error);
  return begun ? error : notSent('The mail server could not be spoken to.', error);
}
