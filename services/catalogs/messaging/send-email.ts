import { z } from 'zod';
import { fieldChanges } from '#catalog-kit/change.ts';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import type { DatabaseContext, Tool } from '#catalog-kit/tool.ts';
import type { Change } from '#domain/tools.ts';
import { composeMail, type Mail } from './mail.ts';
import { type MailServer, sendMail } from './smtp.ts';

/** The catalog's tables, as its transactions see them. */
export interface MessagingTables {
  allowed_domains: { tenant: string; domain: string };
}

export interface MailSettings {
  readonly server: MailServer;
  /** Domain of the sender and of Message-IDs, lower-case ASCII. */
  readonly domain: string;
}

const defineTool = toolsOver<MessagingTables>();
const TIMEOUT_MS = 20_000;

/** The tools of the messaging catalog. */
export function messagingTools(settings: MailSettings): Tool[] {
  return [sendEmail(settings)];
}

function sendEmail({ server, domain }: MailSettings): Tool {
  return defineTool({
    name: 'send_email',
    version: '1',
    description:
      'Sends one plain-text e-mail to up to 10 recipients, all of whom see each other. It cannot be taken back. ' +
      'Use it once everything it reports is done, and address only people the task names. Recipients must be plain ' +
      'addresses of domains the organisation allows; answers go to the user you act for.',
    input: z.strictObject({
      to: z.array(z.string().min(3).max(254).describe('kim@client.example')).min(1).max(10),
      subject: z.string().min(1).max(200).describe('One line.'),
      body: z.string().min(1).max(20_000).describe('Plain text; no markup is rendered.'),
    }),
    output: z.strictObject({
      message_id: z.string().max(300),
      accepted: z.array(z.string().max(254)).max(10).describe('Recipients the mail server took the message for.'),
    }),
    effect: 'keyed',
    risk: 'irreversible',
    labels: ['egress', 'writes'],
    sensitiveFields: ['to'],
    resourceKeys: ['email/{to}'],
    permissions: ['messaging:send'],
    quantities: ['emails'],
    timeoutMs: TIMEOUT_MS,
    async check(ctx, args) {
      await assertAllowed(ctx, composeMail(ctx, args, domain));
    },
    async preview(ctx, args) {
      const mail = composeMail(ctx, args, domain);
      return changeOf(mail, addressesOf(mail), 'send');
    },
    async execute(ctx, args) {
      const mail = composeMail(ctx, args, domain);
      const accepted = await sendMail(server, mail, ctx.signal);
      return {
        result: { message_id: mail.messageId, accepted: [...accepted] },
        change: changeOf(mail, accepted, 'sent'),
      };
    },
  });
}

/** Refuses RECIPIENT_NOT_ALLOWED. */
async function assertAllowed(ctx: DatabaseContext<MessagingTables>, mail: Mail): Promise<void> {
  const asked = [...new Set(mail.to.map(({ domain }) => domain))];
  const rows = await ctx.db.selectFrom('allowed_domains').select('domain').where('domain', 'in', asked).execute();
  const allowed = new Set(rows.map((row) => row.domain));
  const outside = asked.filter((domain) => !allowed.has(domain));
  if (outside.length === 0) return;
  throw refuse(
    'RECIPIENT_NOT_ALLOWED',
    `Mail of ${ctx.tenant} may not go to ${outside.join(', ')}. Nothing was sent. ` +
      'The operators of the messaging catalog can add a domain to those this organisation allows.',
  );
}

function addressesOf(mail: Mail): readonly string[] {
  return mail.to.map(({ address }) => address);
}

function changeOf(mail: Mail, to: readonly string[], verb: 'send' | 'sent'): Change {
  const { from, replyTo, subject, body } = mail;
  const others = to.length > 1 ? ` and ${to.length - 1} more` : '';
  return {
    summary: `${verb} e-mail "${subject}" to ${to[0] ?? 'nobody'}${others}`,
    fields: fieldChanges(`email/${mail.messageId}`, null, {
      to: [...to],
      from,
      ...(replyTo === null ? {} : { reply_to: replyTo }),
      subject,
      body,
    }),
    quantities: { emails: to.length },
  };
}
