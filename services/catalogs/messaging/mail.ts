import { createHash } from 'node:crypto';
import MailComposer from 'nodemailer/lib/mail-composer';
import { refuse } from '#catalog-kit/refusal.ts';
import { type Recipient, readAddress, readRecipients } from './recipients.ts';

/** What would end a header, or a line elsewhere. */
const NOT_IN_LINE = /[\p{Cc}\u2028\u2029]/u;
const NOT_IN_TEXT = /(?![\n\t])\p{Cc}/u;

/** A mail as it will be sent: what the preview shows is all there is. */
export interface Mail {
  /** Without angle brackets. The same for every attempt of the same call: mail stores drop a second one. */
  readonly messageId: string;
  readonly from: string;
  /** The acting user, where their name is an address. */
  readonly replyTo: string | null;
  readonly to: readonly Recipient[];
  readonly subject: string;
  /** Lines end with \n; the last one with nothing. */
  readonly body: string;
}

/** The Message-ID of the call with this idempotency key. */
export function messageIdOf(key: string, mailDomain: string): string {
  return `${createHash('sha256').update(key).digest('hex').slice(0, 32)}@${mailDomain}`;
}

/** Puts the mail of a call together. Refuses with RECIPIENT_INVALID, SUBJECT_INVALID, BODY_INVALID. */
export function composeMail(
  call: { readonly key: string; readonly user: string },
  mailDomain: string,
  content: { readonly to: readonly string[]; readonly subject: string; readonly body: string },
): Mail {
  const { subject } = content;
  const to = readRecipients(content.to);
  if (NOT_IN_LINE.test(subject) || subject.trim() === '') {
    throw refuse('SUBJECT_INVALID', 'The subject must be one line of text: no line breaks, no control characters.');
  }
  const body = content.body.replaceAll(/\r\n?/g, '\n').replace(/\n+$/, '');
  if (NOT_IN_TEXT.test(body) || body.trim() === '') {
    throw refuse('BODY_INVALID', 'The body must be plain text: line breaks and tabs, no other control characters.');
  }
  return {
    messageId: messageIdOf(call.key, mailDomain),
    from: `steward@${mailDomain}`,
    replyTo: readAddress(call.user)?.address ?? null,
    to,
    subject,
    body,
  };
}

/** The mail as RFC 5322 bytes: one part of text. */
export async function encodeMail(mail: Mail): Promise<Buffer> {
  const composer = new MailComposer({
    messageId: `<${mail.messageId}>`,
    from: mail.from,
    ...(mail.replyTo === null ? {} : { replyTo: mail.replyTo }),
    to: mail.to.map(({ address }) => address),
    subject: mail.subject,
    text: mail.body,
    textEncoding: 'quoted-printable',
    // So that nobody's out-of-office note comes back.
    headers: { 'Auto-Submitted': 'auto-generated' },
    xMailer: false,
    // Content is text and never the name of a file or an address to fetch.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return await composer.compile().build();
}
