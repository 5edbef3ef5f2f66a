/** The mail server of the embedded default: a real SMTP server that keeps every message in a file and delivers none. */

import type { AddressInfo } from 'node:net';
import { domainToASCII } from 'node:url';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig, required, serviceVariables } from '#platform/config/service.ts';
import { openMailbox, type StoredMail } from './mail-file.ts';
import { readMailText } from './mail-text.ts';

const MAX_BYTES = 1_048_576;
const IDLE_MS = 60_000;
const CLOSE_MS = 2_000;

export interface MailSinkOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** One JSON line is appended per message; see `StoredMail`. Made where missing. */
  readonly file: string;
}

export interface MailSink {
  /** `smtp://host:port` with the true port. */
  readonly address: string;
  /** Lets sessions under way end, for at most 2 s. */
  stop(): Promise<void>;
}

/**
 * Starts the server. A message is on disk before it is accepted; one whose Message-ID is there already is accepted and
 * noted in `<file>.suppressed.jsonl` instead, as mail stores drop repeats. Messages over 1 MiB are refused.
 */
export async function startMailSink({ listen, file }: MailSinkOptions): Promise<MailSink> {
  const mailbox = await openMailbox(file);
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    hideSTARTTLS: true,
    authOptional: true,
    disableReverseLookup: true,
    logger: false,
    banner: 'Steward keeps this mail to itself',
    size: MAX_BYTES,
    rejectOversized: true,
    socketTimeout: IDLE_MS,
    closeTimeout: CLOSE_MS,
    onData(stream, session, done) {
      collect(stream).then(async (raw) => {
        if (raw !== null) await mailbox.keep(toStored(raw, session));
        done();
      }, done);
    },
  });
  const at = /^(.+):(\d{1,5})$/.exec(listen);
  await new Promise<void>((up, fail) => {
    server.once('error', fail);
    server.listen(Number(at?.[2]), at?.[1]?.replace(/^\[|\]$/g, ''), () => up());
  });
  // A client that breaks off is its own trouble.
  server.on('error', () => undefined);
  const { address, port, family } = server.server.address() as AddressInfo;
  return {
    address: `smtp://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    async stop() {
      await new Promise<void>((down) => server.close(down));
      await mailbox.close();
    },
  };
}

/** The whole message, or null where it is too large to be kept. */
async function collect(stream: SMTPServerDataStream): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= MAX_BYTES) chunks.push(chunk);
  }
  return stream.sizeExceeded || size > MAX_BYTES ? null : Buffer.concat(chunks);
}

function toStored(raw: Buffer, session: SMTPServerSession): StoredMail {
  const { headers, body } = readMailText(raw);
  const { mailFrom, rcptTo } = session.envelope;
  return {
    messageId: (headers.get('message-id') ?? '').replace(/^<|>$/g, ''),
    from: mailFrom === false ? '' : mailFrom.address,
    to: rcptTo.map(({ address }) => inAscii(address)),
    subject: headers.get('subject') ?? '',
    body,
    at: new Date().toISOString(),
  };
}

/** As it came over the wire; the server package shows other letters in domains. */
function inAscii(address: string): string {
  const at = address.lastIndexOf('@') + 1;
  return address.slice(0, at) + (domainToASCII(address.slice(at)) || address.slice(at));
}

if (import.meta.main) {
  await runService(async () => {
    const config = readConfig({
      STEWARD_LISTEN: serviceVariables.STEWARD_LISTEN,
      STEWARD_MAIL_FILE: required('the file that mail is kept in'),
    });
    const sink = await startMailSink({ listen: config.STEWARD_LISTEN, file: config.STEWARD_MAIL_FILE });
    announceReady({ address: sink.address });
    return sink.stop;
  });
}
