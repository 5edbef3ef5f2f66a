import { readMail, suppressedFile } from '#deploy/dev/mail-file.ts';
import { messageIdOf } from '#services/catalogs/messaging/mail.ts';
import type { TestStack } from '#test/support/stack.ts';
import { CREATED, DELETED, effectOf, MAILED, prefixOf } from './intents.ts';

/** What is found once all is over: on the one side the catalogs' own tables and mailbox, on the other the platform's record. */
export interface Evidence {
  /** One entry per time an effect took place, with the idempotency key it took place under. */
  readonly effects: readonly { readonly effect: string; readonly key: string }[];
  /** Tasks by title, as a second witness: how many there are, and how often they were changed. */
  readonly tasks: readonly { readonly title: string; readonly rows: number; readonly changes: number }[];
  /** Calls with an effect: what became of each, as the platform told the model. */
  readonly calls: readonly { readonly effect: string; readonly key: string; readonly state: string }[];
  readonly runs: readonly { readonly number: number; readonly status: string; readonly closed: boolean }[];
  /** Mails that were handed over again and dropped there, by their Message-ID. */
  readonly mailsRepeated: number;
}

const MAIL_DOMAIN = 'steward.example';

/** Reads everything, past Steward: as the database's superuser and from the mail server's file. */
export async function gather(s: TestStack, seed: number): Promise<Evidence> {
  const prefix = prefixOf(seed);
  const acted = await s.query<{ title: string; action: string; key: string }>(
    `select t.title, a.action, a.key from projects.task_activity a
     join projects.tasks t on t.tenant = a.tenant and t.id = a.task_id where starts_with(t.title, $1)`,
    [prefix],
  );
  const tasks = await s.query<{ title: string; rows: number; changes: number }>(
    `select title, count(*)::int as rows, sum(version - 1)::int as changes
     from projects.tasks where starts_with(title, $1) group by title`,
    [prefix],
  );
  const calls = await s.query<CallRow>(
    `select i.key, i.state, i.tool, i.args, t.title from steward.agent_run_tool_invocations i
     left join projects.tasks t on t.tenant = i.tenant and t.id = i.args ->> 'task_id'
     where i.has_effect and i.key is not null`,
  );
  const runs = await s.query<{ status: string; closed: boolean; number: number }>(
    `select status, closed_at is not null as closed, substring(request_id from '[0-9]+$')::int as number
     from steward.agent_runs where starts_with(request_id, $1)`,
    [`chaos-${seed}-`],
  );
  const keys = new Map(calls.map(({ key }) => [messageIdOf(key, MAIL_DOMAIN), key]));
  const mails = (await readMail(s.stack.mailFile)).filter(({ subject }) => subject.startsWith(prefix));
  const repeated = await readMail(suppressedFile(s.stack.mailFile));
  return {
    effects: [
      ...acted.map(({ title, action, key }) => ({ effect: effectOf(title, action), key })),
      ...mails.map((mail) => ({ effect: effectOf(mail.subject, MAILED), key: keys.get(mail.messageId) ?? '' })),
    ],
    tasks,
    calls: calls.map((row) => ({ effect: effectOfCall(row), key: row.key, state: row.state })),
    runs,
    mailsRepeated: repeated.length,
  };
}

interface CallRow {
  readonly key: string;
  readonly state: string;
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly title: string | null;
}

function effectOfCall({ tool, args, title }: CallRow): string {
  switch (tool) {
    case 'create_task':
      return effectOf(String(args.title), CREATED);
    case 'send_email':
      return effectOf(String(args.subject), MAILED);
    case 'update_task_status':
      return effectOf(title ?? '', `status ${String(args.status)}`);
    case 'assign_task':
      return effectOf(title ?? '', `assigned to ${String(args.assignee)}`);
    default:
      return effectOf(title ?? '', DELETED);
  }
}
