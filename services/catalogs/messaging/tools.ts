import { z } from 'zod';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import type { DatabaseContext, Tool, ToolContext } from '#catalog-kit/tool.ts';
import type { FieldChange } from '#domain/tools.ts';
import { composeMail, type Mail } from './mail.ts';
import { readRecipients, requireAllowed } from './recipients.ts';
import type { Mailer } from './smtp.ts';
import type { MessagingTables } from './tables.ts';

const defineTool = toolsOver<MessagingTables>();

const address = z.string().min(3).max(254);
const input = z.strictObject({
  to: z.array(address).min(1).max(10).describe('Plain addresses, without names: dana@example.org.'),
  subject: z
    .string()
    .min(1)
    .max(200)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they would end the header.
    .regex(/^[^\x00-\x1f\x7f]+$/)
    .describe('One line.'),
  body: z
    .string()
    .min(1)
    .max(20_000)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: tab and line ends only.
    .regex(/^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+$/)
    .describe('Plain text.'),
});
const output = z.strictObject({
  message_id: z.string().max(400),
  accepted: z.array(z.string().max(400)).max(10),
  rejected: z.array(z.string().max(400)).max(10),
});
type Args = z.output<typeof input>;

/** The tools of the messaging catalog: mail goes through `mailer`, and out as this domain. */
export function messagingTools(mailer: Mailer, mailDomain: string): readonly Tool[] {
  const compose = (ctx: ToolContext, { to, subject, body }: Args): Mail =>
    composeMail(ctx, mailDomain, { to: readRecipients(to).map((recipient) => recipient.address), subject, body });
  return [
    defineTool({
      name: 'send_email',
      version: '1',
      description:
        'Sends a plain-text e-mail. People are asked before it goes out, and it cannot be taken back. Write only to ' +
        'addresses that other tools gave you; the tenant allows certain domains.',
      input,
      output,
      effect: 'keyed',
      risk: 'irreversible',
      labels: ['egress'],
      sensitiveFields: ['to'],
      resourceKeys: ['recipient/{to}'],
      permissions: ['messaging:send'],
      quantities: ['emails'],
      timeoutMs: 30_000,
      check: async (ctx, args) => requireAllowed(readRecipients(args.to), await allowedDomains(ctx)),
      preview: async (ctx, args) => describe(compose(ctx, args)),
      async execute(ctx, args) {
        const mail = compose(ctx, args);
        const { accepted, rejected } = await mailer.send(mail, ctx.signal);
        return {
          result: { message_id: mail.messageId, accepted: [...accepted], rejected: [...rejected] },
          change: describe(mail),
        };
      },
    }),
  ];
}

async function allowedDomains(ctx: DatabaseContext<MessagingTables>): Promise<ReadonlySet<string>> {
  const rows = await ctx.db.selectFrom('allowed_domains').select('domain').execute();
  return new Set(rows.map((row) => row.domain));
}

/** The exact mail, field by field. */
function describe(mail: Mail) {
  const { messageId: _, ...shown } = mail;
  const fields = Object.entries(shown).flatMap(([field, after]): FieldChange[] =>
    after === null ? [] : [{ record: 'email/new', field, after }],
  );
  const summary = `e-mail to ${mail.to.join(', ')}: "${mail.subject}"`.slice(0, 500).toWellFormed();
  return { summary, fields, quantities: { emails: mail.to.length } };
}
