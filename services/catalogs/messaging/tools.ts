import { z } from 'zod';
import { fieldChanges } from '#catalog-kit/change.ts';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import type { DatabaseContext, Tool, ToolContext } from '#catalog-kit/tool.ts';
import type { Change } from '#domain/tools.ts';
import { composeMail, type Mail } from './mail.ts';
import { domainsOf, type Recipient, requireAllowed } from './recipients.ts';
import type { Mailer } from './smtp.ts';
import type { MessagingTables } from './tables.ts';
import { listMessages, sendMessageToUser } from './user-messages.ts';

const defineTool = toolsOver<MessagingTables>();

const input = z.strictObject({
  to: z.array(z.string().min(3).max(254)).min(1).max(10).describe('Plain addresses, without names: dana@example.org.'),
  subject: z.string().min(1).max(200).describe('One line.'),
  body: z.string().min(1).max(20_000).describe('Plain text.'),
});
const output = z.strictObject({
  message_id: z.string().max(400),
  accepted: z.array(z.string().max(254)).max(10).describe('Recipients the mail server has taken the mail for.'),
});

/** The tools of the messaging catalog: mail goes through `mailer`, and out as this domain. */
export function messagingTools(mailer: Mailer, mailDomain: string): readonly Tool[] {
  const compose = (ctx: ToolContext, args: z.output<typeof input>): Mail => composeMail(ctx, mailDomain, args);
  return [
    defineTool({
      name: 'send_email',
      version: '1',
      description:
        'Sends one plain-text e-mail to up to 10 recipients, who see each other. People are asked before it goes out, ' +
        'and it cannot be taken back: send it once what it reports is done. Write only to addresses that the task or ' +
        'other tools gave you; the tenant allows certain domains. Answers go to the user you act for.',
      input,
      output,
      effect: 'keyed',
      risk: 'irreversible',
      labels: ['egress', 'writes'],
      sensitiveFields: ['to'],
      resourceKeys: ['email/{to}'],
      permissions: ['messaging:send'],
      quantities: ['emails=count(to)'],
      timeoutMs: 20_000,
      async check(ctx, args) {
        const { to } = compose(ctx, args);
        requireAllowed(to, await allowedOf(ctx, to));
      },
      async preview(ctx, args) {
        const mail = compose(ctx, args);
        return changeOf(mail, addressesOf(mail));
      },
      async execute(ctx, args) {
        const mail = compose(ctx, args);
        const accepted = await mailer.send(mail, ctx.signal);
        return { result: { message_id: mail.messageId, accepted: [...accepted] }, change: changeOf(mail, accepted) };
      },
    }),
    sendMessageToUser,
    listMessages,
  ];
}

/** Which of the recipients' domains the tenant allows. */
async function allowedOf(
  ctx: DatabaseContext<MessagingTables>,
  to: readonly Recipient[],
): Promise<ReadonlySet<string>> {
  const rows = await ctx.db
    .selectFrom('allowed_domains')
    .select('domain')
    .where('domain', 'in', [...domainsOf(to)])
    .execute();
  return new Set(rows.map((row) => row.domain));
}

function addressesOf(mail: Mail): readonly string[] {
  return mail.to.map(({ address }) => address);
}

/** The exact mail, field by field, as it goes to `to`. */
function changeOf(mail: Mail, to: readonly string[]): Change {
  const { messageId, from, replyTo, subject, body } = mail;
  const more = to.length > 1 ? ` and ${to.length - 1} more` : '';
  const fields = { to: [...to], from, ...(replyTo === null ? {} : { reply_to: replyTo }), subject, body };
  return {
    summary: `e-mail to ${to[0] ?? 'nobody'}${more}: "${subject}"`,
    fields: fieldChanges(`email/${messageId}`, null, fields),
    quantities: { emails: to.length },
  };
}
