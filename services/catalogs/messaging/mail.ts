import { createHash } from 'node:crypto';
import MailComposer from 'nodemailer/lib/mail-composer';
import { readAddress } from './recipients.ts';

/** A mail as it will be sent: what the preview shows is all there is. */
export interface Mail {
  /** The same for every attempt of the same call: mail stores drop a second one. */
  readonly messageId: string;
  readonly from: string;
  /** The acting user, where their name is an address. */
  readonly replyTo: string | null;
  readonly to: readonly string[];
  readonly subject: string;
  readonly body: string;
}

/** The Message-ID of the call with this idempotency key. */
export function messageIdOf(key: string, mailDomain: string): string {
  return `<${createHash('sha256').update(key).digest('hex')}@${mailDomain}>`;
}

/** Puts a mail together. `to` are addresses as `readRecipients` gives them. */
export function composeMail(
  call: { readonly key: string; readonly user: string },
  mailDomain: string,
  content: { readonly to: readonly string[]; readonly subject: string; readonly body: string },
): Mail {
  const messageId = messageIdOf(call.key, mailDomain);
  const replyTo = readAddress(call.user)?.address ?? null;
  return { messageId, from: `agents@${mailDomain}`, replyTo, ...content };
}

/** The mail as RFC 5322 bytes. */
export async function encodeMail(mail: Mail): Promise<Buffer> {
  const composer = new MailComposer({
    messageId: mail.messageId,
    from: { name: 'Steward', address: mail.from },
    to: mail.to.map((address) => ({ name: '', address })),
    subject: mail.subject,
    text: mail.body,
    ...(mail.replyTo === null ? {} : { replyTo: { name: '', address: mail.replyTo } }),
    // Content is text and never the name of a file or an address to fetch.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return await composer.compile().build();
}
